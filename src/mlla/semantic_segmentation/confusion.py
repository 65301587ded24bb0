"""How often each class was taken for which, and the scores that follow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

IGNORED = 255


def confusion_matrix(target: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels.

    Args:
        target: True classes, and 255 where none is known.
        predicted: Predicted classes, of the same shape.
        num_classes: Number of classes.

    Returns:
        Counts as int64, a row for each true class, a column for each predicted one.

    Raises:
        ValueError: If the shapes differ or a class is out of range.
    """
    if target.shape != predicted.shape:
        raise ValueError(
            f"target is {target.shape} and predicted {predicted.shape}; they must agree"
        )
    known = target != IGNORED
    true, found = target[known].astype(np.int64), predicted[known].astype(np.int64)
    for name, classes in (("target", true), ("predicted", found)):
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f"{name} has classes from {classes.min()} to {classes.max()}, but there are "
                f"{num_classes}"
            )
    counts = np.bincount(true * num_classes + found, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


@dataclass(frozen=True)
class SegmentationScores:
    """What a confusion matrix says.

    Args:
        class_names: Names of the classes.
        iou: Of each class: pixels that are and were found of it, by those that are or were found
            of it; NaN for a class that neither occurs nor was found.
        accuracy: Of each class: the share of its pixels found; NaN if it does not occur.
        pixels: True pixels of each class.
        pixel_accuracy: Share of all pixels whose class was found.
    """

    class_names: tuple[str, ...]
    iou: tuple[float, ...]
    accuracy: tuple[float, ...]
    pixels: tuple[int, ...]
    pixel_accuracy: float

    @property
    def mean_iou(self) -> float:
        """Mean of `iou` over the classes that have one."""
        return _mean(self.iou)

    @property
    def mean_accuracy(self) -> float:
        """Mean of `accuracy` over the classes that occur."""
        return _mean(self.accuracy)

    def figures(self) -> dict[str, float]:
        """Return the three numbers that papers print."""
        return {
            "mIoU": self.mean_iou,
            "mAcc": self.mean_accuracy,
            "aAcc": self.pixel_accuracy,
        }

    def table(self) -> str:
        """Return a line for each class."""
        width = max(len("class"), *map(len, self.class_names))
        lines = [f"{'class':<{width}}  {'IoU':>6}  {'recall':>6}  {'pixels':>11}"]
        for name, iou, accuracy, pixels in zip(
            self.class_names, self.iou, self.accuracy, self.pixels, strict=True
        ):
            shares = "  ".join("     -" if math.isnan(v) else f"{v:6.4f}" for v in (iou, accuracy))
            lines.append(f"{name:<{width}}  {shares}  {pixels:>11,}")
        return "\n".join(lines)


def scores_of(matrix: np.ndarray, class_names: Sequence[str]) -> SegmentationScores:
    """Turn counts into scores.

    Args:
        matrix: What `confusion_matrix` returned, or a sum of such.
        class_names: Names of the classes.

    Raises:
        ValueError: If the number of names is another than that of classes, or no pixel was counted.
    """
    if matrix.shape != (len(class_names),) * 2:
        raise ValueError(f"matrix is {matrix.shape}, but there are {len(class_names)} class names")
    hits, true, found = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    if not true.sum():
        raise ValueError("matrix counts no pixel: every pixel of every mask was ignored")
    return SegmentationScores(
        class_names=tuple(class_names),
        iou=_shares(hits, true + found - hits),
        accuracy=_shares(hits, true),
        pixels=tuple(true.tolist()),
        pixel_accuracy=float(hits.sum() / true.sum()),
    )


def _shares(part: np.ndarray, whole: np.ndarray) -> tuple[float, ...]:
    empty = np.full(len(part), np.nan)
    return tuple(np.divide(part, whole, out=empty, where=whole > 0).tolist())


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known)
