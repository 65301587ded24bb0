"""The plan of a study: written before anything is trained, and kept to."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlla.study.files import read_json
from mlla.study.guards.plan_guards import (
    PASSED,
    checkpoint_guard,
    guard,
    lists_guard,
    near_duplicate_guard,
    not_yet,
    replaced,
    seeds_guard,
)
from mlla.study.six_designs.classifier_run import PACKAGES
from mlla.study.six_designs.image_folders import IMAGES, StudyImages
from mlla.study.six_designs.published_effects import published_effects

PLAN = "six_designs.json"
# results of two versions of these are not comparable
DECISIVE = ("timm", "torch")
# what a study that goes on must ask for as before
_SAME = ("size", "image_size", "rows", "near_duplicates", "settings", "recipe", "margin")
# of the settings, what does not decide the outcome
_FREE = ("workers", "device")


def make_request(
    *,
    command: str,
    size: str,
    image_size: int,
    rows: Sequence[str],
    num_seeds: int,
    near_duplicates: bool,
    settings: Mapping[str, Any],
    recipe: Mapping[str, Any],
    margin: float,
    threads: int,
) -> dict[str, Any]:
    """Return what a user asks for: the plan, but for the images.

    Args:
        command: The words that ask for it.
        size: A key of `SIZES`.
        image_size: Height and width in pixels.
        rows: Names of the rows.
        num_seeds: Runs of each row.
        near_duplicates: Whether near-duplicates are searched for.
        settings: Of the loop, but for the seed.
        recipe: Filled in.
        margin: The smallest gain of accuracy that matters.
        threads: Threads of each run.
    """
    return {
        "command": command,
        "size": size,
        "image_size": image_size,
        "rows": list(rows),
        "seeds": list(range(num_seeds)),
        "near_duplicates": near_duplicates,
        "settings": dict(settings),
        "recipe": dict(recipe),
        "margin": margin,
        "threads": threads,
        "versions": {
            **{package: version(package) for package in PACKAGES},
            "python": platform.python_version(),
        },
    }


def started(request: Mapping[str, Any], images: StudyImages, out: Path) -> dict[str, Any]:
    """Return the plan of a new study.

    Args:
        request: What is asked for.
        images: The images.
        out: Folder of the study.
    """
    # without test images nobody chooses, so that val scores what it did not choose
    checkpoint = "best" if images.scored == "test" else "last"
    sizes = {split: len(of) for split, of in images.lists.items()}
    guards = [
        not_yet("seed_changes_result", "the trial runs", "试运行"),
        not_yet("seed_reproduces_result", "the trial runs", "试运行"),
        not_yet("same_data_order", "the first runs", "首批运行"),
        not_yet("one_version", "the first runs", "首批运行"),
        checkpoint_guard(images.scored, checkpoint, None),
        near_duplicate_guard(images.leaks, sizes[images.scored]),
        seeds_guard(len(request["seeds"]), num_claims(request["rows"])),
        _optimizer_guard(request["recipe"], request["settings"]["epochs"]),
        lists_guard(sizes, images.digests),
    ]
    return {
        **request,
        "data": images.to_dict(out / IMAGES),
        "checkpoint": checkpoint,
        "guards": replaced(guards, []),
        "extensions": [],
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def continued(
    plan: dict[str, Any], request: Mapping[str, Any], source: Path, out: Path
) -> dict[str, Any]:
    """Return the plan of a study that goes on, with more seeds if there are to be more.

    Args:
        plan: The plan so far.
        request: What is asked for now.
        source: The image folder that is named now.
        out: Folder of the study.

    Raises:
        ValueError: If something else is asked for than before.
    """
    if others := list(_differences(plan, request, source, out)):
        raise ValueError(
            f"{out} holds another study; nothing was changed. {'; '.join(others)}. Ask for the "
            "same as before, or choose another folder with out="
        )
    before, now = len(plan["seeds"]), len(request["seeds"])
    if now < before:
        raise ValueError(
            f"seeds={now}, but the study in {out} has {before}, and choosing among finished runs "
            f"would falsify it; ask for {before} or more, or choose another folder with out="
        )
    if now == before:
        return plan
    # looked at and extended: a reader of the p-values has to know
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {
        **plan,
        "command": request["command"],
        "seeds": request["seeds"],
        "guards": replaced(plan["guards"], [seeds_guard(now, num_claims(plan["rows"]))]),
        "extensions": [*plan["extensions"], {"from": before, "to": now, "time": when}],
    }


def read_plan(out: Path) -> dict[str, Any] | None:
    """Read the plan of the study in a folder, or return None if there is none.

    Raises:
        ValueError: If it cannot be read.
    """
    return read_json(out / PLAN) if (out / PLAN).exists() else None


def num_claims(rows: Sequence[str]) -> int:
    """Return how many comparisons are corrected together, in the table that has more of them."""
    effects = published_effects(rows)
    return max((sum(one.table == table for one in effects) for table in (1, 2)), default=0)


def plan_text(plan: Mapping[str, Any], out: Path, *, num_done: int, where: str) -> str:
    """Return the plan in words, to be read before anything is trained.

    Args:
        plan: The plan.
        out: Folder of the study.
        num_done: Runs that are done.
        where: Where the others are trained.
    """
    data, settings, recipe = plan["data"], plan["settings"], plan["recipe"]
    counts = ", ".join(f"{split} {of['images']}" for split, of in data["splits"].items())
    rows, seeds = len(plan["rows"]), len(plan["seeds"])
    chooser = "chosen on val" if plan["checkpoint"] == "best" else "chosen by nobody"
    lines = [
        f"data      {data['source']}: {len(data['class_names'])} classes, images: {counts}",
        f"          the {plan['checkpoint']} epoch, {chooser}, is scored on {data['scored']}",
        f"training  {settings['epochs']} epochs at {plan['image_size']} px, batch "
        f"{settings['batch']}, AdamW with lr {recipe['lr']:g}",
        f"rows      size {plan['size']}: {', '.join(plan['rows'])}",
        *(
            f"check     {one['state']:<11} {one['en']}"
            for one in plan["guards"]
            if one["state"] != "not checked" or one["detail"]
        ),
        f"runs      {rows} rows x {seeds} seeds = {rows * seeds}, {num_done} of them done; {where}",
        f"folder    {out}",
    ]
    return "\n".join(lines)


def _optimizer_guard(recipe: Mapping[str, Any], epochs: int) -> dict[str, Any]:
    detail = {name: recipe[name] for name in ("lr", "weight_decay", "warmup_epochs", "min_lr")}
    text = ", ".join(f"{name} {value:g}" for name, value in detail.items())
    return guard(
        "fixed_optimizer",
        PASSED,
        detail,
        f"All rows train with AdamW ({text}, epochs {epochs}).",
        f"所有行均使用 AdamW（{text}）训练 {epochs} 个轮次。",
    )


def _differences(
    plan: Mapping[str, Any], request: Mapping[str, Any], source: Path, out: Path
) -> Iterator[str]:
    """Yield in words what is asked for otherwise than planned; seeds and threads may differ."""
    if plan["data"]["source"] != str(source):
        yield f"its data is {plan['data']['source']}, not {source}"
    if plan["data"]["made_split"] and plan["data"]["folder"] != str(out / IMAGES):
        yield f"it was made in {Path(plan['data']['folder']).parent}: move it back"
    for key in _SAME:
        old, new = plan[key], request[key]
        if not isinstance(old, dict):
            old, new = {key: old}, {key: new}
        for name in old:
            if old[name] != new.get(name) and name not in _FREE:
                yield f"its {name} is {old[name]}, not {new.get(name)}"
    for package in DECISIVE:
        was, now = plan["versions"][package], request["versions"][package]
        if was != now:
            yield f"it was begun with {package} {was}, and {now} is installed now"
