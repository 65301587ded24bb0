"""Random fields from which surfaces and defects are made."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell_height: float, cell_width: float
) -> Field:
    """Draw normal noise on a coarse grid and interpolate it.

    Args:
        rng: Source of randomness.
        height: Rows of the field.
        width: Columns of the field.
        cell_height: Pixels between two grid rows; far more than `height` gives vertical streaks.
        cell_width: Pixels between two grid columns.

    Returns:
        A field of about zero mean and unit size, (height, width).
    """
    rows, columns = height / cell_height, width / cell_width
    grid = rng.standard_normal((int(rows) + 4, int(columns) + 4), dtype=np.float32)
    top, left = rng.uniform(1, 2, size=2)
    window = (left, top, left + columns, top + rows)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=window)
    return np.asarray(image)


def pixel_grid(height: int, width: int) -> tuple[Field, Field]:
    """Return the row and the column of every pixel, each (height, width)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    return rows, columns


def nearest_two(
    rows: Field, columns: Field, points: NDArray[Any], stretch: float
) -> tuple[Field, Field]:
    """Measure how far every pixel is from its nearest and its second nearest point.

    Args:
        rows: Row of every pixel, possibly warped.
        columns: Column of every pixel, possibly warped.
        points: Row and column of each point, (N, 2) with N >= 2.
        stretch: Above 1 makes horizontal distances count less: cells become wide.

    Returns:
        The distance to the nearest and to the second nearest point.
    """
    nearest = np.full(rows.shape, np.inf, dtype=np.float32)
    second = nearest.copy()
    for row, column in points.astype(np.float32):
        distance = np.hypot(rows - row, (columns - column) / np.float32(stretch))
        second = np.minimum(second, np.maximum(nearest, distance))
        nearest = np.minimum(nearest, distance)
    return nearest, second


def scattered_points(
    rng: np.random.Generator, height: int, width: int, spacing: float
) -> NDArray[np.float64]:
    """Place points on a jittered grid that covers the window and a rim around it.

    Args:
        rng: Source of randomness.
        height: Rows of the window.
        width: Columns of the window.
        spacing: Mean distance between neighbours in pixels.

    Returns:
        Row and column of each point, (N, 2).
    """
    rows, columns = np.meshgrid(
        np.arange(-spacing, height + spacing, spacing),
        np.arange(-spacing, width + spacing, spacing),
        indexing="ij",
    )
    points = np.stack([rows.ravel(), columns.ravel()], axis=1)
    return points + rng.uniform(0, 0.75 * spacing, size=points.shape)


def smooth_step(value: Field) -> Field:
    """Map 0..1 to 0..1 with flat ends, and clamp outside."""
    clipped = np.clip(value, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)
