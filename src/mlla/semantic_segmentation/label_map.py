"""From the numbers in masks to classes counted from 0, and back."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from mlla.data import DataError
from mlla.semantic_segmentation.confusion import IGNORED

# numbers that a mask of 16 bits can hold
_NUMBERS = 1 << 16
_UNKNOWN = -1


class LabelMap:
    """Which number in a mask stands for which class.

    Args:
        names: Name of each class by its number in masks; the classes are counted in this order.
        ignored: Further numbers, whose pixels are neither learned from nor scored. 255 is one of
            them unless it is a class.

    Raises:
        DataError: If there are too few or too many classes, or a number is a class and ignored.
    """

    def __init__(self, names: Mapping[int, str], ignored: Collection[int] = ()) -> None:
        both = set(names) & set(ignored)
        if both:
            raise DataError(
                f"ignore={sorted(both)} are classes, too; leave them out of one of both"
            )
        if not 2 <= len(names) <= IGNORED:
            raise DataError(f"there must be 2 to {IGNORED} classes, not {len(names)}")
        wrong = [number for number in {*names, *ignored} if not 0 <= number < _NUMBERS]
        if wrong:
            raise DataError(f"numbers in masks must be from 0 to {_NUMBERS - 1}, not {wrong}")
        self.numbers = tuple(names)
        self.names = tuple(names.values())
        self.ignored = frozenset(ignored) | (frozenset({IGNORED}) - set(names))
        self._table = np.full(_NUMBERS, _UNKNOWN, dtype=np.int16)
        self._table[list(self.ignored)] = IGNORED
        self._table[list(names)] = np.arange(len(names))

    def as_dict(self) -> dict[int, str]:
        """Return the name of each class by its number in masks."""
        return dict(zip(self.numbers, self.names, strict=True))

    def classes_of(self, mask: np.ndarray) -> np.ndarray:
        """Return classes as bytes, 255 where they are ignored.

        Args:
            mask: Whole numbers.

        Raises:
            DataError: If the mask holds a number that is neither a class nor ignored.
        """
        classes = self._table[mask]
        if (classes == _UNKNOWN).any():
            unknown = np.unique(mask[classes == _UNKNOWN]).tolist()
            raise DataError(
                f"a mask holds the numbers {unknown[:10]}, which are no classes; name them, or "
                f"ignore={','.join(map(str, unknown[:10]))}"
            )
        return classes.astype(np.uint8)

    def numbers_of(self, classes: np.ndarray) -> np.ndarray:
        """Return the numbers of classes, as bytes where they fit."""
        kind = np.uint8 if max(self.numbers) < 256 else np.uint16
        return np.array(self.numbers, dtype=kind)[classes]
