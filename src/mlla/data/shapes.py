"""Boxes and polygons: from the numbers of each format to normalised edges, checked and clipped.

Everywhere in this package a box is given by its edges (left, top, right, bottom), measured from
the upper left corner of the upper left pixel: the box of that pixel alone is (0, 0, 1, 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from mlla.data.report import Kind

Edges = tuple[float, float, float, float]

# overshoot that is rounding and not worth a word: one hundred-thousandth of the image
ROUNDING = 1e-5


class BadShapeError(Exception):
    """A box or polygon that cannot be used; says what is wrong and of which kind that is."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class Shape:
    """One annotated object.

    Attributes:
        where: Which line, object or annotation it is, for the report.
        name: Class name.
        numbers: Four edges, or the x, y pairs of a polygon; in pixels or normalised.
    """

    where: str
    name: str
    numbers: tuple[float, ...]

    @property
    def is_box(self) -> bool:
        """Tell whether this is a box and not a polygon."""
        return len(self.numbers) == 4


def finite_numbers(values: Iterable[object]) -> tuple[float, ...]:
    """Turn texts or JSON values into numbers.

    Raises:
        BadShapeError: If a value is no number, or infinite, or not a number (NaN).
    """
    numbers = []
    for value in values:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise BadShapeError(Kind.BAD_OBJECT, f"{value!r} is not a number") from None
        if not math.isfinite(number):
            raise BadShapeError(Kind.NOT_FINITE, f"{value!r} is not finite")
        numbers.append(number)
    return tuple(numbers)


def edges_from_voc(x_min: float, y_min: float, x_max: float, y_max: float) -> Edges:
    """Turn the corners of a VOC box, 1-based pixels that both belong to it, into edges.

    Raises:
        BadShapeError: If the corners coincide or are swapped. By the letter of the format two
            equal corners mean one pixel; in practice they are a slip of the mouse.
    """
    if x_max <= x_min or y_max <= y_min:
        corners = f"corners ({x_min:g}, {y_min:g}) and ({x_max:g}, {y_max:g})"
        raise BadShapeError(Kind.ZERO_AREA, f"{corners} enclose nothing")
    return x_min - 1, y_min - 1, x_max, y_max


def edges_from_corner_size(left: float, top: float, width: float, height: float) -> Edges:
    """Turn a COCO box (left, top, width, height) into edges."""
    return left, top, left + width, top + height


def edges_from_centre_size(x: float, y: float, width: float, height: float) -> Edges:
    """Turn a YOLO box (centre x, centre y, width, height) into edges."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def centre_size_from_edges(edges: Edges) -> Edges:
    """Turn edges into a YOLO box (centre x, centre y, width, height)."""
    left, top, right, bottom = edges
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def turn_edges(edges: Edges, orientation: int, width: float, height: float) -> Edges:
    """Turn a box along with its image.

    Args:
        edges: Box on the image as it is stored.
        orientation: EXIF orientation 5 to 8, those that swap width and height.
        width: Width of the image as it is stored.
        height: Height of the image as it is stored.

    Returns:
        The box on the image as it is displayed.
    """
    left, top, right, bottom = edges
    mirrored_x, mirrored_y = (width - right, width - left), (height - bottom, height - top)
    horizontal = mirrored_y if orientation in (6, 7) else (top, bottom)
    vertical = mirrored_x if orientation in (7, 8) else (left, right)
    return horizontal[0], vertical[0], horizontal[1], vertical[1]


def clip_shape(shape: Shape) -> tuple[Shape, bool]:
    """Cut a normalised shape at the edges of the image.

    A polygon is cut point by point: a point outside moves to the nearest edge.

    Args:
        shape: Shape with numbers that are 0..1 inside the image.

    Returns:
        The shape with every number in 0..1, and whether more than rounding was cut off.

    Raises:
        BadShapeError: If the shape encloses nothing, or lies fully outside.
    """
    left, top, right, bottom = _extent(shape)
    if right - left < ROUNDING / 10 or bottom - top < ROUNDING / 10:
        size = f"width {right - left:g} and height {bottom - top:g} of the image"
        raise BadShapeError(Kind.ZERO_AREA, f"{size} enclose nothing")
    clipped = Shape(shape.where, shape.name, tuple(min(max(n, 0.0), 1.0) for n in shape.numbers))
    left, top, right, bottom = _extent(clipped)
    if right - left < ROUNDING / 10 or bottom - top < ROUNDING / 10:
        raise BadShapeError(Kind.FULLY_OUTSIDE, "no part of it lies inside the image")
    cut = max(abs(old - new) for old, new in zip(shape.numbers, clipped.numbers, strict=True))
    return clipped, cut > ROUNDING


def _extent(shape: Shape) -> Edges:
    """Return the edges of a box or of the box around a polygon."""
    if shape.is_box:
        left, top, right, bottom = shape.numbers
        return left, top, right, bottom
    xs, ys = shape.numbers[0::2], shape.numbers[1::2]
    return min(xs), min(ys), max(xs), max(ys)
