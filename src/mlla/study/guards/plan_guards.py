"""What must hold before the numbers of a study mean anything, each in one sentence."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlla.study.planning.dataset import StudyData
from mlla.study.planning.split_leaks import SplitLeaks
from mlla.study.statistics.verdict import min_runs

Guard = dict[str, Any]
PASSED, WARNING, FAILED, NOT_CHECKED = "passed", "warning", "failed", "not checked"
NAMES = (
    "seed_changes_result",
    "seed_reproduces_result",
    "checkpoint_not_chosen_on_scored_images",
    "near_duplicates_across_splits",
    "enough_seeds",
    "same_data_order",
    "shared_initial_weights",
    "one_version",
    "fixed_optimizer",
    "image_lists_fixed",
    "added_runs_comparable",
)


def guard(name: str, state: str, detail: Mapping[str, Any], en: str, zh: str) -> Guard:
    """Return one guard as the plan stores it.

    Args:
        name: One of `NAMES`.
        state: One of the four states.
        detail: The numbers behind it.
        en: What was found, in English.
        zh: The same in Chinese.

    Raises:
        ValueError: If there is no guard of that name.
    """
    if name not in NAMES:
        raise ValueError(f"name={name!r} is no guard; choose from {', '.join(NAMES)}")
    return {"name": name, "state": state, "detail": dict(detail), "en": en, "zh": zh}


def replaced(guards: Sequence[Guard], news: Sequence[Guard]) -> list[Guard]:
    """Return guards with those of the same name replaced, all in the order of `NAMES`."""
    by_name = {one["name"]: one for one in [*guards, *news]}
    return [by_name[name] for name in NAMES if name in by_name]


def planned_guards(
    data: StudyData,
    *,
    checkpoint: str,
    num_seeds: int,
    num_claims: int,
    settings: Mapping[str, Any],
) -> list[Guard]:
    """Return what can be said before anything is trained.

    Args:
        data: The images of the study.
        checkpoint: "best" or "last".
        num_seeds: Runs of each arm.
        num_claims: Variants that are compared with the baseline.
        settings: Arguments of the trainings.
    """
    return replaced(
        [
            not_yet("seed_changes_result", "the trial runs", "试运行"),
            not_yet("seed_reproduces_result", "the trial runs", "试运行"),
            not_yet("same_data_order", "the first runs", "首批运行"),
            not_yet("shared_initial_weights", "the first runs", "首批运行"),
            not_yet("one_version", "the first runs", "首批运行"),
        ],
        [
            checkpoint_guard(data.scored, checkpoint, data.made_split),
            near_duplicate_guard(data.leaks, len(data.lists[data.scored])),
            seeds_guard(num_seeds, num_claims),
            optimizer_guard(settings),
            lists_guard({name: len(of) for name, of in data.lists.items()}, data.digests),
        ],
    )


def checkpoint_guard(scored: str, checkpoint: str, made_split: Mapping[str, Any] | None) -> Guard:
    """Say which images chose the checkpoint, and which score it."""
    name = "checkpoint_not_chosen_on_scored_images"
    detail = {"scored": scored, "checkpoint": checkpoint, "made_split": made_split}
    if checkpoint == "last":
        return guard(
            name,
            PASSED,
            detail,
            f"The last epoch is scored on {scored}, so no image chose the checkpoint.",
            f"在 {scored} 上评估最后一个轮次的权重，没有任何图像参与选择检查点。",
        )
    made_en = f" ({made_split['share']:.0%} of train, split off)" if made_split else ""
    made_zh = f"（从 train 中划出 {made_split['share']:.0%}）" if made_split else ""
    return guard(
        name,
        PASSED,
        detail,
        f"val chose the checkpoint, {scored}{made_en} scores it.",
        f"检查点由 val 选出，在 {scored}{made_zh} 上评分。",
    )


def near_duplicate_guard(leaks: SplitLeaks, num_scored: int) -> Guard:
    """Say whether splits separate images that show the same."""
    name, detail = "near_duplicates_across_splits", leaks.to_dict()
    if leaks.identical or leaks.near_duplicates:
        return guard(
            name,
            WARNING,
            detail,
            f"{leaks.identical} pairs of identical and {leaks.near_duplicates or 0} of nearly "
            f"identical images stand in two splits; they touch {leaks.test_images_touched} of the "
            f"{num_scored} scored images. All arms profit, but scores are too good.",
            f"有 {leaks.identical} 对相同图像和 {leaks.near_duplicates or 0} 对近似重复图像被分在"
            f"不同的划分中，涉及 {num_scored} 张评分图像中的 {leaks.test_images_touched} 张。"
            "所有方案同样受益，但得分偏高。",
        )
    if leaks.near_duplicates is None:
        return guard(
            name,
            NOT_CHECKED,
            detail,
            "Near-duplicates were not searched for (near_duplicates=False); no two splits share an "
            "identical image.",
            "未检查近似重复图像（near_duplicates=False）；各划分之间没有完全相同的图像。",
        )
    return guard(
        name,
        PASSED,
        detail,
        "No two splits share an image, identical or nearly so.",
        "各划分之间没有相同或近似重复的图像。",
    )


def seeds_guard(num_seeds: int, num_claims: int) -> Guard:
    """Say whether there are seeds enough for a verdict on so many variants."""
    needed = min_runs(max(num_claims, 1))
    enough = num_seeds >= needed
    return guard(
        "enough_seeds",
        PASSED if enough else WARNING,
        {"seeds": num_seeds, "needed": needed, "variants": num_claims},
        f"{num_seeds} seed{'s' if num_seeds > 1 else ''} an arm"
        + ("." if enough else f": figures, but no verdict, which takes {needed}."),
        f"每个方案 {num_seeds} 个随机种子"
        + ("。" if enough else f"：只给出数字，不作结论（至少需要 {needed} 个）。"),
    )


def optimizer_guard(settings: Mapping[str, Any]) -> Guard:
    """Say which optimizer all arms have."""
    values = {key: settings[key] for key in ("optimizer", "lr0", "momentum", "weight_decay")}
    text = ", ".join(f"{key} {value}" for key, value in values.items() if key != "optimizer")
    return guard(
        "fixed_optimizer",
        PASSED,
        values,
        f"All arms train with {values['optimizer']} ({text}, epochs {settings['epochs']}).",
        f"所有方案均使用 {values['optimizer']}（{text}）训练 {settings['epochs']} 个轮次。",
    )


def lists_guard(sizes: Mapping[str, int], digests: Mapping[str, str]) -> Guard:
    """Say how many images each split has, and by which digest they are fixed."""
    text = ", ".join(f"{split} {number}" for split, number in sizes.items())
    return guard(
        "image_lists_fixed",
        PASSED,
        {"images": dict(sizes), "sha256": dict(digests)},
        f"Images and labels are fixed by SHA-256: {text}.",
        f"图像和标注由 SHA-256 固定：{text}。",
    )


def not_yet(name: str, waits_for: str, waits_for_zh: str) -> Guard:
    """Say that only runs will tell, and which.

    Args:
        name: One of `NAMES`.
        waits_for: The runs, in English.
        waits_for_zh: The same in Chinese.
    """
    return guard(
        name,
        NOT_CHECKED,
        {},
        f"Not checked yet: {waits_for} will tell.",
        f"尚未检查：待{waits_for_zh}完成后得知。",
    )
