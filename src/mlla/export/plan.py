"""What to export, checked before anything is built or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# with open sizes torch.export takes no size for one that may be 1, even after five halvings
OPEN_PROGRAM_LEAST_PX = 33


@dataclass(frozen=True)
class Plan:
    """What an exported file shall be.

    Args:
        format: Its format.
        height: Rows of the images it is traced with.
        width: Columns of them.
        batch: Images at once.
        dynamic: Whether it takes other batches and sizes, too.
        int8: Whether it computes in eight bits.
        half: Whether it holds 16-bit numbers.
        data: Images to calibrate and score with.
        options: Further arguments of Ultralytics.
    """

    format: str
    height: int
    width: int
    batch: int = 1
    dynamic: bool = False
    int8: bool = False
    half: bool = False
    data: str | Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def precision(self) -> str:
        """What the file computes in."""
        return "int8" if self.int8 else "float16" if self.half else "float32"

    def sizes(self, step: int) -> list[tuple[int, int, int]]:
        """Return batch, height and width of the images to compare on.

        Args:
            step: What height and width must be multiples of.

        Returns:
            The size that was traced; and, if sizes are open, one that is not square and one that
            is an odd multiple of the step.
        """
        traced = (self.batch, self.height, self.width)
        if not self.dynamic:
            return [traced]
        least = OPEN_PROGRAM_LEAST_PX if self.format == "torch_export" else step
        half_width = max(least, self.width // 2 // step * step)
        tall = self.height if self.height != half_width else self.height + step
        odd = max(3, least // step, self.height * 3 // 4 // step | 1) * step
        if odd == self.height == self.width:
            odd += 2 * step
        return [traced, (self.batch + 1, tall, half_width), (self.batch, odd, odd)]


def read_size(imgsz: int | Sequence[int] | None, default: int, step: int) -> tuple[int, int]:
    """Read an image size.

    Args:
        imgsz: Pixels of both sides, or height and width; None for the default.
        default: Pixels of both sides.
        step: What height and width must be multiples of.

    Raises:
        ValueError: If it is no size, or no multiple of the step.
    """
    sides = default if imgsz is None else imgsz
    pair = [sides, sides] if isinstance(sides, int) else list(sides)
    pair = pair * 2 if len(pair) == 1 else pair
    if len(pair) != 2 or not all(_is_count(side) for side in pair):
        raise ValueError(f"imgsz={imgsz!r} must be pixels, such as 640, or height and width")
    if any(side % step for side in pair):
        nearest = [max(1, round(side / step)) * step for side in pair]
        raise ValueError(
            f"imgsz={imgsz!r}: this model takes multiples of {step} pixels, such as {nearest}"
        )
    return pair[0], pair[1]


def check_batch(batch: Any) -> int:
    """Return the batch.

    Raises:
        ValueError: If it is no positive whole number.
    """
    if not _is_count(batch):
        raise ValueError(f"batch={batch!r} must be a whole number of images from 1 on")
    return int(batch)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
