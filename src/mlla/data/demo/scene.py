"""One image of the demo set: a steel surface with some defects on it, and their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlla.data.demo.defects import DEFECTS
from mlla.data.demo.noise import Field, smooth_noise
from mlla.data.demo.surface import steel_surface

KINDS = tuple(DEFECTS)

# defects were drawn for an image of this side; other sizes scale them
DESIGN_SIZE_PX = 160

# chance of 0, 1, 2, 3 or 4 defects; fewer when they find no room
_COUNT_CHANCES = (0.06, 0.26, 0.34, 0.22, 0.12)
_VISIBLE = 0.3
_MARGIN_PX = 4
_PLACING_ATTEMPTS = 12


@dataclass(frozen=True)
class Defect:
    """What is where: a class index and a box in pixel edges (left, top, right, bottom)."""

    kind: int
    box: tuple[int, int, int, int]


def draw_scene(
    rng: np.random.Generator, size_px: int, first_kind: int
) -> tuple[NDArray[np.uint8], list[Defect]]:
    """Draw one image.

    Args:
        rng: Source of randomness.
        size_px: Height and width.
        first_kind: Class index of the first defect, so that a set can be balanced.

    Returns:
        The grey image, (size_px, size_px), and its defects, none overlapping another.
    """
    scale = size_px / DESIGN_SIZE_PX
    image = steel_surface(rng, size_px) + _dirt(rng, size_px)
    defects: list[Defect] = []
    for index in range(rng.choice(len(_COUNT_CHANCES), p=_COUNT_CHANCES)):
        kind = first_kind if index == 0 else int(rng.integers(len(KINDS)))
        change = DEFECTS[KINDS[kind]](rng, scale)
        for _ in range(_PLACING_ATTEMPTS):
            layer = _place_somewhere(rng, change, size_px)
            box = _visible_box(layer)
            if not any(_touch(box, other.box) for other in defects):
                _apply(image, layer, rng.uniform(0.3, 0.6))
                defects.append(Defect(kind, box))
                break
    image += rng.uniform(1, 4) * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 255).round().astype(np.uint8), defects


def _place_somewhere(rng: np.random.Generator, change: Field, size_px: int) -> Field:
    """Put the window of a defect into an image-sized field, up to a quarter beyond its edge."""
    height, width = change.shape
    top = int(rng.integers(-(height // 4), size_px - height + height // 4 + 1))
    left = int(rng.integers(-(width // 4), size_px - width + width // 4 + 1))
    rim = max(height, width)
    canvas = np.zeros((size_px + 2 * rim, size_px + 2 * rim), dtype=np.float32)
    canvas[rim + top : rim + top + height, rim + left : rim + left + width] = change
    return canvas[rim : rim + size_px, rim : rim + size_px]


def _apply(image: Field, layer: Field, contrast: float) -> None:
    """Darken or brighten the image in place where the layer says so."""
    image *= 1 + np.float32(contrast) * layer


def _visible_box(layer: Field) -> tuple[int, int, int, int]:
    """Return the tight box around all that changes the surface visibly."""
    visible = np.abs(layer) > _VISIBLE
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _touch(box: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    """Tell whether two boxes overlap or come closer than the margin."""
    return (
        box[0] < other[2] + _MARGIN_PX
        and other[0] < box[2] + _MARGIN_PX
        and box[1] < other[3] + _MARGIN_PX
        and other[1] < box[3] + _MARGIN_PX
    )


def _dirt(rng: np.random.Generator, size_px: int) -> Field:
    """Draw a few faint dark smudges that are no defect and carry no box."""
    cloud = smooth_noise(rng, size_px, size_px, size_px / 20, size_px / 20)
    return np.float32(-12) * np.clip(cloud - rng.uniform(2.0, 3.0), 0, 1)
