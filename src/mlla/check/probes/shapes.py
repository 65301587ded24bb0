"""Does the answer have the size of the question, at every size?"""

from __future__ import annotations

import torch

from mlla.check.attempt import FailedError
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

# check: sizes (batch, height, width)
_SIZES = {
    "square maps": ((1, 16, 16), (1, 24, 24)),
    "non-square maps": ((1, 48, 80), (1, 20, 80), (1, 12, 8)),
    "odd and tiny maps": ((1, 7, 13), (1, 7, 28), (1, 1, 1), (1, 1, 9)),
    "batches": ((2, 16, 16), (3, 16, 16)),
}
_WHY = {
    "square maps": "A block that is put into a detector has to keep the size of the map.",
    "non-square maps": (
        "Ultralytics validates with rectangular batches and predicts on rectangular images, so "
        "most maps after training are not square. The usual cause is h = w = int(n ** 0.5), which "
        "fails where n is no square number and silently returns another shape where it is "
        "(20x80 has 1600 = 40x40 pixels)."
    ),
    "odd and tiny maps": (
        "Images of 416 or 608 pixels give odd maps, and a map of one pixel occurs at the deepest "
        "stage of a small image."
    ),
    "batches": "Training and validation use batches of any size; the last one is smaller.",
}
_REMEDY = "Take height and width from the input (B, C, H, W = x.shape) and keep them to the end."


def probe_shapes(subject: Subject) -> list[Finding]:
    """Run maps of many sizes through one module; each answer must have its input's shape."""
    findings = [_probe_sizes(subject, check, sizes) for check, sizes in _SIZES.items()]
    return [*findings, _probe_change_of_size(subject)]


@torch.no_grad()
def _probe_sizes(subject: Subject, check: str, sizes: tuple[tuple[int, int, int], ...]) -> Finding:
    # a fresh module for every size: what one size leaves behind is another check
    problems = []
    for batch, height, width in sizes:
        problem = _problem(subject, batch, height, width)
        if problem:
            problems.append(problem)
    tried = ", ".join(f"{h}x{w}" + (f" (batch {b})" if b > 1 else "") for b, h, w in sizes)
    if not problems:
        return Finding(check, Verdict.OK, f"{tried}: same shape out as in")
    return Finding(
        check,
        Verdict.FAULT,
        "; ".join(problems),
        done=f"Ran maps of {tried}, each through a freshly built module.",
        why=_WHY[check],
        remedy=_REMEDY,
    )


def _problem(subject: Subject, batch: int, height: int, width: int) -> str:
    maps = subject.maps(batch, height, width)
    try:
        answer = subject.run(subject.build(), maps)
    except FailedError as failure:
        return f"{height}x{width} raises {failure}"
    if answer.shape == maps.shape:
        return ""
    if answer.dim() == 4 and answer.shape[:2] == maps.shape[:2]:
        return f"{height}x{width} silently comes back as {answer.shape[2]}x{answer.shape[3]}"
    return f"{tuple(maps.shape)} comes back as {tuple(answer.shape)}"


@torch.no_grad()
def _probe_change_of_size(subject: Subject) -> Finding:
    check = "change of size"
    first = (subject.side, subject.side)
    # the same number of pixels in another shape, and more pixels
    others = [(subject.side // 2, subject.side * 2), (subject.side + 8, subject.side + 8)]
    others = [size for size in others if not _problem(subject, 1, *size)]
    if not others:
        return Finding(check, Verdict.NOT_CHECKED, "no second size runs on a fresh module")
    for second in others:
        if seen := _trace_left(subject, first, second):
            return Finding(
                check,
                Verdict.FAULT,
                seen,
                done=f"Ran {_text(first)}, {_text(second)} and {_text(first)} again on one module.",
                why="Something made for one size is kept and used at another; multi-scale training "
                "and validation change the size from batch to batch.",
                remedy="Compute tables of positions from the size at hand, in forward.",
            )
    sizes = " and ".join(_text(size) for size in others)
    seen = f"{sizes} after {_text(first)}: what a fresh module gives"
    return Finding(check, Verdict.OK, seen)


def _trace_left(subject: Subject, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Say what changes at one size after a run at another; empty if nothing."""
    module = subject.build_spread()
    fresh = subject.run(subject.build_spread(), subject.maps(1, *second))
    try:
        before = subject.run(module, subject.maps(1, *first))
        used = subject.run(module, subject.maps(1, *second))
        after = subject.run(module, subject.maps(1, *first))
    except FailedError as failure:
        return f"{_text(second)} after {_text(first)} raises {failure}"
    if torch.allclose(used, fresh, atol=1e-5) and torch.allclose(before, after, atol=1e-5):
        return ""
    return f"{_text(second)} gives other numbers after {_text(first)} than on a fresh module"


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
