"""What a comparison says, in plain words, English and Chinese."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlla.study.statistics.comparison import Comparison
from mlla.study.statistics.verdict import MAX_IMAGES_FACTOR, MAX_RUNS, MIN_RUNS, Verdict, min_runs


@dataclass(frozen=True)
class Text:
    """The same in two languages."""

    en: str
    zh: str

    def __add__(self, other: Text) -> Text:
        return Text(f"{self.en} {other.en}".strip(), self.zh + other.zh)


NOTHING = Text("", "")


def sentence(
    found: Comparison,
    *,
    kind: str,
    margin: float,
    num_images: int,
    missing_seeds: list[int],
    against_control: Comparison | None = None,
    control: Comparison | None = None,
    equivalence: Mapping[str, Any] | None = None,
) -> Text:
    """Say what a comparison allows one to say.

    Args:
        found: The comparison.
        kind: Of its arm: "variant", "convolution", "identity" or "added".
        margin: The smallest gain that matters, as a fraction of AP.
        num_images: Images that were scored.
        missing_seeds: Seeds of the study that not both arms have.
        against_control: The arm beside its convolution control.
        control: The convolution control beside the baseline.
        equivalence: Whether the arm is no worse and faster, with "margin", "ratio" and "runtime".

    Returns:
        One to five sentences.
    """
    # hardly trained networks agree by saying the same of every image
    if found.finds_nothing and kind != "identity":
        return _nothing_found(found) + _missing(missing_seeds)
    if found.identical:
        return _identical(found, kind) + _missing(missing_seeds)
    text = _finding(found, margin, num_images)
    if found.verdict is Verdict.TOO_LITTLE_DATA:
        text += _decided_by(found)
    if found.verdict in (Verdict.TOO_LITTLE_DATA, Verdict.NOT_SUPPORTED):
        text += _smallest_effect(found)
    if found.verdict is Verdict.NOT_SUPPORTED and found.difference.high < 0:
        text += Text(
            "It is rather worse: the interval lies below 0, though the permutation test over seeds "
            "does not confirm it.",
            "它更可能变差：置信区间在 0 以下，但种子间的置换检验未能证实。",
        )
    if kind == "identity":
        text += Text(
            "It inserts nothing, so this is what chance does to a training here.",
            "它什么也没有插入，因此这只反映训练中的随机性。",
        )
    if found.verdict is Verdict.SUPPORTED and against_control and control:
        text += _due_to(against_control, control)
    if equivalence and equivalence["holds"]:
        text += _equivalent(equivalence)
    return text + _missing(missing_seeds)


def _finding(found: Comparison, margin: float, num_images: int) -> Text:
    """Say what was found, with the numbers."""
    arm, against = found.pair.arm, found.pair.against
    gap = found.difference
    first, second = (f"{100 * mean:.1f}" for mean in found.means)
    size = points(abs(gap.estimate))
    seeds = len(found.seeds)
    en = f"difference {points(gap.estimate, signed=True)} points"
    zh = f"相差 {points(gap.estimate, signed=True)} 个百分点"
    if seeds > 1:
        low, high = points(gap.low, signed=True), points(gap.high, signed=True)
        p_value = f"p = {found.adjusted_p_value:.2g}"
        en += f", 95 % interval {low} to {high}, {p_value}, {seeds} seeds, {num_images} images"
        zh += f"，95% 置信区间 {low} 至 {high}，{p_value}，{seeds} 个种子，{num_images} 张图像"
    least = points(margin)
    if found.verdict is Verdict.SUPPORTED:
        return Text(
            f"{arm} is better than {against}: AP {second} instead of {first}, a gain of {size} "
            f"points ({en}).",
            f"{arm} 优于 {against}：AP 由 {first} 升至 {second}，提高 {size} 个百分点（{zh}）。",
        )
    if found.verdict is Verdict.HARMFUL:
        return Text(
            f"{arm} is worse than {against}: AP {second} instead of {first}, a loss of {size} "
            f"points ({en}).",
            f"{arm} 不如 {against}：AP 由 {first} 降至 {second}，下降 {size} 个百分点（{zh}）。",
        )
    if found.verdict is Verdict.NOT_SUPPORTED:
        return Text(
            f"{arm} is not better than {against} by {least} points or more: AP {second} beside "
            f"{first} ({en}).",
            f"{arm} 并未比 {against} 高出 {least} 个百分点或更多：AP {second}，对照为 {first}"
            f"（{zh}）。",
        )
    beside = Text(f"AP {second} beside {first} ({en}).", f"AP {second}，对照为 {first}（{zh}）。")
    if seeds < MIN_RUNS:
        spread = Text("", "")
        if seeds == 1:
            spread = Text(
                "One run says nothing about the spread over seeds, so there is no interval.",
                "只有一次训练，无法得知种子之间的波动，因此没有置信区间。",
            )
        return (
            Text(
                f"{arm} beside {against}: figures but no verdict, since {seeds} "
                f"seed{'s' * (seeds > 1)} an arm cannot carry one:",
                f"{arm} 与 {against}：只给出数字，不下结论，因为每个方案 {seeds} 个种子"
                "不足以支持结论：",
            )
            + beside
            + spread
        )
    head = Text(
        f"Whether {arm} is better than {against} stays open:",
        f"{arm} 是否优于 {against} 尚无定论：",
    )
    return head + beside + _why_open(found, least)


def _why_open(found: Comparison, least: str) -> Text:
    """Say what keeps the data from deciding."""
    gap, fewest = found.difference, min_runs(found.num_claims)
    if len(found.seeds) < fewest:
        return Text(
            f"With {found.num_claims} arms to judge, {len(found.seeds)} seeds can never pass the "
            f"permutation test; {fewest} can.",
            f"需要同时判断 {found.num_claims} 个方案时，{len(found.seeds)} 个种子永远无法通过置换"
            f"检验，至少需要 {fewest} 个。",
        )
    if gap.low > 0:
        return Text(
            "The interval excludes 0, but the permutation test over seeds does not confirm it.",
            "置信区间不含 0，但种子间的置换检验未能证实。",
        )
    return Text(
        f"There is room for no gain and for one that matters ({least} points).",
        f"既可能没有提升，也可能有值得重视的提升（{least} 个百分点）。",
    )


def _decided_by(found: Comparison) -> Text:
    """Say what would decide."""
    runs, images = found.needed.runs, found.needed.images
    if len(found.seeds) == 1:
        return Text(f"Train at least {MIN_RUNS} seeds.", f"请至少训练 {MIN_RUNS} 个种子。")
    if runs is None and images is None:
        return Text(
            f"Neither {MAX_RUNS} seeds an arm nor {MAX_IMAGES_FACTOR} times as many images alone "
            "would decide it; it takes more of both.",
            f"单靠每个方案 {MAX_RUNS} 个种子，或单靠 {MAX_IMAGES_FACTOR} 倍的图像都不够，"
            "两者都需要增加。",
        )
    en = [f"{runs} seeds an arm"] * (runs is not None)
    zh = [f"每个方案 {runs} 个种子"] * (runs is not None)
    if images is not None:
        en.append(f"{images} scored images")
        zh.append(f"{images} 张评测图像")
    return Text(f"About {' or '.join(en)} would decide it.", f"大约需要{'或'.join(zh)}才能下结论。")


def _smallest_effect(found: Comparison) -> Text:
    # what can never be found, or not be told from one run, is said elsewhere
    if not 0 < found.smallest_effect < math.inf:
        return NOTHING
    size = points(found.smallest_effect)
    return Text(
        f"A study like this shows a true gain of {size} points four times out of five.",
        f"这样规模的研究，有八成把握证实 {size} 个百分点的真实提升。",
    )


def _due_to(against_control: Comparison, control: Comparison) -> Text:
    """Say whether the block did it or merely the parameters that it adds."""
    gap = against_control.difference
    name = against_control.pair.against
    size = points(abs(gap.estimate))
    numbers = f"{points(gap.estimate, signed=True)}"
    if len(against_control.seeds) > 1 and not against_control.identical:
        low, high = points(gap.low, signed=True), points(gap.high, signed=True)
        en, zh = f"{numbers} points, {low} to {high}", f"{numbers} 个百分点，{low} 至 {high}"
    else:
        en, zh = f"{numbers} points", f"{numbers} 个百分点"
    if against_control.verdict is Verdict.SUPPORTED:
        return Text(
            f"It beats a plain convolution of as many parameters, {name}, too ({en}): the block "
            "does it, not merely its parameters.",
            f"它也优于参数量相同的普通卷积 {name}（{zh}）：起作用的是模块本身，而不只是参数。",
        )
    if against_control.verdict is Verdict.HARMFUL:
        return Text(
            f"But a plain convolution of as many parameters, {name}, gains {size} points more: the "
            "gain is due to the extra parameters as far as this study can tell.",
            f"但参数量相同的普通卷积 {name} 还要高 {size} 个百分点：就本研究所见，"
            "提升来自额外的参数。",
        )
    if control.verdict is Verdict.SUPPORTED:
        return Text(
            f"A plain convolution of as many parameters, {name}, gains too, and the block is not "
            f"shown to beat it ({en}): the gain is due to the extra parameters as far as this "
            "study can tell.",
            f"参数量相同的普通卷积 {name} 同样有提升，且未能证明模块优于它（{zh}）：就本研究所见，"
            "提升来自额外的参数。",
        )
    return Text(
        f"Whether the block did it or merely its parameters stays open: beside a plain convolution "
        f"of as many, {name}, the difference is {en}.",
        f"提升来自模块还是仅仅来自参数，尚无定论：与参数量相同的普通卷积 {name} 相差 {zh}。",
    )


def _equivalent(equivalence: Mapping[str, Any]) -> Text:
    least, runtime = points(equivalence["margin"]), equivalence["runtime"]
    ratio = equivalence["ratio"]
    numbers = f"{ratio['median']:.2f}, {ratio['low']:.2f}–{ratio['high']:.2f}"
    percent = f"{100 * equivalence['faster_than']:.0f}"
    return Text(
        f"It is worse by less than {least} points and takes at least {percent} % less time per "
        f"image ({runtime}, {numbers} times that of the baseline).",
        f"它的下降不到 {least} 个百分点，且每张图像的耗时至少减少 {percent}%（{runtime}，"
        f"为基线的 {numbers} 倍）。",
    )


def _identical(found: Comparison, kind: str) -> Text:
    arm, against = found.pair.arm, found.pair.against
    mean = f"{100 * found.means[1]:.1f}"
    seeds = len(found.seeds)
    runs = f"all {seeds} runs" if seeds > 1 else "the 1 run of each"
    text = Text(
        f"{arm} finds exactly what {against} finds, with the same scores, in {runs}: AP {mean}, "
        "the difference is exactly 0.",
        f"{arm} 与 {against} 在全部 {seeds} 次训练中的检测结果和得分完全相同：AP {mean}，差异恰好"
        "为 0。",
    )
    if kind == "identity":
        return text + Text(
            "So it must be, since it inserts nothing: the comparison itself adds no difference.",
            "本应如此，因为它什么也没有插入：比较过程本身没有引入差异。",
        )
    return text + Text("The change had no effect at all.", "该改动没有产生任何影响。")


def _nothing_found(found: Comparison) -> Text:
    arm, against = found.pair.arm, found.pair.against
    return Text(
        f"Neither {arm} nor {against} finds an object in any run (AP 0.0), so nothing can be said: "
        "train longer, or on larger images.",
        f"{arm} 与 {against} 的每次训练都没有找到任何目标（AP 0.0），因此无法比较："
        "请延长训练，或使用更大的图像尺寸。",
    )


def _missing(seeds: list[int]) -> Text:
    if not seeds:
        return NOTHING
    numbers = ", ".join(map(str, seeds))
    return Text(
        f"Left out, since not both arms have finished them: seed{'s' * (len(seeds) > 1)} "
        f"{numbers}.",
        f"未计入种子 {numbers}，因为并非两个方案都已完成。",
    )


def points(value: float, *, signed: bool = False) -> str:
    """Write a fraction of AP in points, with one decimal, or two where one would say 0."""
    if value == 0:
        return "0.0"
    text = f"{100 * value:{'+' if signed else ''}.1f}"
    if float(text) == 0:
        text = f"{100 * value:{'+' if signed else ''}.2f}"
    return text
