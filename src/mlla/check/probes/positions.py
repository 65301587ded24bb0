"""Is position two-dimensional, or an index in a list?"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from mlla.check.attempt import FailedError
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_CHECK = "positions"
_SIDE = 16
# pixels at the border see the padding of convolutions; 3 inside is enough for three of them
_MARGIN = 3
_PLACES = ((3, 3), (3, 12), (5, 8), (7, 12), (8, 4), (9, 9), (12, 3), (12, 12))
_SAME = 1e-3
_DONE = (
    "On an empty map, compared how much pixels at the same distance matter to each other: the "
    "same distance in rows and columns, and the same distance in the flat list of pixels."
)


def probe_positions(subject: Subject) -> list[Finding]:
    """Compare influences between pixels on a map whose content is the same everywhere."""
    maps = torch.zeros(1, subject.width, _SIDE, _SIDE, requires_grad=True)
    try:
        output = subject.run(subject.build_spread(), maps)
        pixels, cut_tokens = _influences(output, maps)
    except (FailedError, RuntimeError) as error:
        return [Finding(_CHECK, Verdict.NOT_CHECKED, f"no gradient on an empty map: {error}")]
    # where tokens are cut out of the map, positions belong to those tokens
    for kernel, where in ((pixels, ""), (cut_tokens, " (of the tokens it cuts out of the map)")):
        if finding := _judge(kernel, where):
            return [finding]
    if not _has_far_influence(pixels):
        seen = f"none: pixels more than {_MARGIN} apart have no influence on each other"
        return [Finding(_CHECK, Verdict.OK, seen)]
    seen = "cannot tell: influences follow neither rows and columns nor the flat list exactly"
    return [Finding(_CHECK, Verdict.NOT_CHECKED, seen)]


def _judge(kernel: Tensor, where: str) -> Finding | None:
    """Judge influences (place, H, W) on the places of `_PLACES`; None if undecided."""
    by_rows_columns: dict[tuple[int, int], list[float]] = {}
    inside = range(_MARGIN, _SIDE - _MARGIN)
    for (row, column), influences in zip(_PLACES, kernel, strict=True):
        for other_row, other_column in product(inside, inside):
            step = (other_row - row, other_column - column)
            if max(map(abs, step)) > _MARGIN:
                value = influences[other_row, other_column].item()
                by_rows_columns.setdefault(step, []).append(value)
    everything = [value for values in by_rows_columns.values() for value in values]
    if not max(everything) > 0:
        return None
    if _spread(everything) < _SAME:
        seen = f"none far away: all pixels count alike{where}"
        return Finding(_CHECK, Verdict.OK, seen)
    if line := _only_line(by_rows_columns):
        return _one_dimensional(
            f"influence depends on the {line} of a pixel only, the other direction does not "
            f"count{where}"
        )
    if _is_flat(by_rows_columns):
        return _one_dimensional(
            "influence depends on the distance in the flat list of pixels only, so the end of a "
            f"row is next to the start of the next{where}"
        )
    if all(_spread(values) < _SAME for values in by_rows_columns.values()):
        seen = f"two-dimensional: rows and columns count apart{where}"
        return Finding(_CHECK, Verdict.OK, seen)
    return None


def _is_flat(by_step: dict[tuple[int, int], list[float]]) -> bool:
    """Tell whether the distance in the flat list decides, where several steps have the same."""
    by_distance: dict[int, dict[tuple[int, int], list[float]]] = {}
    for step, values in by_step.items():
        by_distance.setdefault(_SIDE * step[0] + step[1], {})[step] = values
    groups = [
        [value for values in steps.values() for value in values]
        for steps in by_distance.values()
        if len(steps) > 1
    ]
    varies = _spread([value for values in groups for value in values]) > _SAME
    return varies and all(_spread(values) < _SAME for values in groups)


def _only_line(by_step: dict[tuple[int, int], list[float]]) -> str:
    """Return "row" or "column" if nothing but that distance counts, else nothing."""
    for axis, name in enumerate(("row", "column")):
        # nearer than that, convolutions and a pooling of the own line count as well
        far = {s: values for s, values in by_step.items() if abs(s[axis]) > _MARGIN}
        by_distance: dict[int, list[float]] = {}
        for step, values in far.items():
            by_distance.setdefault(step[axis], []).extend(values)
        varies = _spread([value for values in far.values() for value in values]) > _SAME
        if varies and all(_spread(values) < _SAME for values in by_distance.values()):
            return name
    return ""


def _one_dimensional(seen: str) -> Finding:
    return Finding(
        _CHECK,
        Verdict.FAULT,
        f"one-dimensional: {seen}",
        done=_DONE,
        why="An image has two directions. In a flat list, two pixels above each other are as far "
        "apart as the map is wide, which changes with every image size; with rows or columns "
        "only, everything along the other direction is at the same place.",
        remedy="Rotate half of the channels by the row and half by the column, as "
        "mlla.ops.rotate_by_position does.",
    )


def _spread(values: list[float]) -> float:
    return (max(values) - min(values)) / max(max(values), 1e-30)


def _influences(output: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return influences (place, H, W) of pixels, and of tokens cut out of the map.

    Two output channels are enough to see an equality.
    """
    pixels, cut_tokens = torch.zeros(2, len(_PLACES), _SIDE, _SIDE)
    for index, (row, column) in enumerate(_PLACES):
        for channel in (0, output.shape[1] // 2):
            (gradient,) = torch.autograd.grad(
                output[0, channel, row, column], maps, retain_graph=True
            )
            energy = gradient[0].square()
            pixels[index] += energy.sum(dim=0)
            cut_tokens[index] += energy.reshape(_SIDE * _SIDE, -1).sum(dim=1).view(_SIDE, _SIDE)
    return pixels, cut_tokens


def _has_far_influence(kernel: Tensor) -> bool:
    return any(
        influences[row, column] > 0
        for place, influences in zip(_PLACES, kernel, strict=True)
        for row, column in product(range(_SIDE), range(_SIDE))
        if max(abs(row - place[0]), abs(column - place[1])) > _MARGIN
    )
