"""How far the outputs of two runs are apart, relative to their own size.

The numbers of an output mean different things: edges of boxes count to hundreds, scores to one. So
every quantity has an error of its own, its largest absolute difference over its largest absolute
value in PyTorch, and the largest of these errors counts. Scores count as 0.01 at least, since
runtimes compute a sigmoid to 1e-7 absolute, however small it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

# of float32, relative
TOLERANCE = 1e-4
# edges of a box, then its score and class in ranked outputs
_EDGES = 4
_LEAST_SCORE = 1e-2


class DetectorLayout(Protocol):
    """What the numbers of a detector's first output mean."""

    @property
    def num_classes(self) -> int:
        """Classes that it knows."""

    @property
    def ranked(self) -> bool:
        """Whether rows are boxes in the order of their scores."""


@dataclass(frozen=True)
class Difference:
    """The largest relative error of one comparison.

    Args:
        shape: Batch, channels, height and width of the images.
        error: The largest relative error; infinite where shapes differ or numbers are not finite.
        quantity: What has it.
        own_error: How far PyTorch is from itself where pixels change as by rounding; not a number
            where that was not asked.
    """

    shape: tuple[int, ...]
    error: float
    quantity: str
    own_error: float = float("nan")


def largest_difference(
    expected: Sequence[np.ndarray],
    found: Sequence[np.ndarray],
    shape: tuple[int, ...],
    layout: DetectorLayout | None = None,
) -> Difference:
    """Compare all outputs.

    Args:
        expected: Those of PyTorch.
        found: Those of the exported file.
        shape: Shape of the images.
        layout: What the first output means; None if its numbers are all of one kind.
    """
    shapes = [array.shape for array in expected], [array.shape for array in found]
    if shapes[0] != shapes[1]:
        return Difference(shape, float("inf"), f"shapes {shapes[1]} in place of {shapes[0]}")
    errors = {}
    for index, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        name = "output" if len(expected) == 1 else f"output {index}"
        if layout is None or index:
            errors[name] = _relative(wanted, given)
        elif layout.ranked:
            errors |= _ranked(wanted, given)
        else:
            errors |= {
                part: _relative(wanted[:, channels], given[:, channels], least)
                for part, channels, least in _channels(wanted.shape[1], layout.num_classes)
            }
    quantity = max(errors, key=errors.__getitem__)
    return Difference(shape, errors[quantity], quantity)


def _channels(count: int, num_classes: int) -> Iterator[tuple[str, slice, float]]:
    yield "boxes", slice(0, _EDGES), 0.0
    yield "scores", slice(_EDGES, _EDGES + num_classes), _LEAST_SCORE
    if count > _EDGES + num_classes:
        yield "masks, keypoints or angles", slice(_EDGES + num_classes, None), 0.0


def _relative(expected: np.ndarray, found: np.ndarray, least: float = 0.0) -> float:
    if not np.isfinite(found).all():
        return float("inf")
    difference = float(np.abs(found.astype(np.float64) - expected).max(initial=0.0))
    return difference / _size(expected, least)


def _size(expected: np.ndarray, least: float = 0.0) -> float:
    return max(float(np.abs(expected).max(initial=0.0)), least) or 1.0


def _ranked(expected: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Compare lists of boxes, in which boxes of nearly the same score may change places.

    Scores are compared in their order. Every row is then compared with the row most like it among
    those of its class on the other side; one whose score ties with the last may lack it there.
    """
    scores = _relative(expected[..., _EDGES], found[..., _EDGES], _LEAST_SCORE)
    if not np.isfinite(found).all():
        return {"scores": float("inf")}
    rest = [slice(0, _EDGES)] + ([slice(_EDGES + 2, None)] if expected.shape[-1] > 6 else [])
    sizes = [_size(expected[..., part]) for part in rest]
    score_size = _size(expected[..., _EDGES], _LEAST_SCORE)
    worst = 0.0
    for wanted, given in zip(expected.astype(np.float64), found.astype(np.float64), strict=True):
        apart = np.abs(wanted[:, None, _EDGES] - given[None, :, _EDGES]) / score_size
        for part, size in zip(rest, sizes, strict=True):
            gaps = np.abs(wanted[:, None, part] - given[None, :, part]).max(-1) / size
            apart = np.maximum(apart, gaps)
        apart[wanted[:, None, _EDGES + 1] != given[None, :, _EDGES + 1]] = np.inf
        last = wanted[:, _EDGES].min() + 2 * TOLERANCE * score_size
        for rows, nearest in ((wanted, apart.min(1)), (given, apart.min(0))):
            certain = nearest[rows[:, _EDGES] > last]
            worst = max(worst, float(certain.max(initial=0.0)))
    return {"scores": scores, "ranked boxes": worst}
