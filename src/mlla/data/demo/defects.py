"""Six kinds of steel defects, modelled on the look of the classes of NEU-DET.

Every function draws one defect in a window of its own and returns by how much it changes the
brightness of the steel: -1 is as dark as the kind gets, +1 as bright, 0 leaves the surface alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlla.data.demo.noise import (
    Field,
    nearest_two,
    pixel_grid,
    scattered_points,
    smooth_noise,
    smooth_step,
)

Draw = Callable[[np.random.Generator, float], Field]


def crazing(rng: np.random.Generator, scale: float) -> Field:
    """Draw a broken network of fine dark cracks over an area, wider than high."""
    height, width = _window(rng, scale, (36, 76), (46, 96))
    rows, columns = pixel_grid(height, width)
    for cell in (9 * scale, 3 * scale):
        rows = rows + 0.22 * cell * smooth_noise(rng, height, width, cell, cell)
        columns = columns + 0.22 * cell * smooth_noise(rng, height, width, cell, cell)
    points = scattered_points(rng, height, width, rng.uniform(8, 11) * scale)
    nearest, second = nearest_two(rows, columns, points, stretch=1.8)
    crack_width = 1.0 + 0.35 * smooth_noise(rng, height, width, 12 * scale, 12 * scale)
    cracks = smooth_step(crack_width - (second - nearest) / np.float32(1.2 * scale))
    broken = smooth_step(0.75 + smooth_noise(rng, height, width, 8 * scale, 8 * scale))
    return -cracks * (0.25 + 0.75 * broken) * _inside(rng, height, width)


def inclusion(rng: np.random.Generator, scale: float) -> Field:
    """Draw dark specks in the rolling direction, end to end in a narrow column."""
    height, width = _window(rng, scale, (30, 100), (11, 22))
    rows, columns = pixel_grid(height, width)
    along = 2 * (rows + 0.5) / height - 1
    pinch = smooth_noise(rng, height, width, 11 * scale, 8.0 * width)
    ragged = smooth_noise(rng, height, width, 4 * scale, 3 * scale)
    half_width = width * (0.3 + 0.16 * pinch + 0.07 * ragged) * np.sqrt(1 - along**2)
    axis = width * (0.5 + 0.1 * smooth_noise(rng, height, width, 20 * scale, 8.0 * width))
    specks = smooth_step((half_width - np.abs(columns - axis)) / np.float32(2 * scale) + 0.2)
    return -specks * (0.8 + 0.15 * smooth_noise(rng, height, width, 6 * scale, 3 * scale))


def patches(rng: np.random.Generator, scale: float) -> Field:
    """Draw one irregular dark blotch with a soft, ragged rim."""
    height, width = _window(rng, scale, (30, 84), (28, 64))
    rows, columns = pixel_grid(height, width)
    vertical, horizontal = 2 * rows / height - 1, 2 * columns / width - 1
    angle = np.arctan2(vertical, horizontal)
    radius = np.full_like(angle, 0.78)
    for waves in range(2, 7):
        phase = rng.uniform(0, 2 * np.pi)
        radius += rng.uniform(0.05, 0.4) / waves * np.cos(waves * angle + phase)
    radius += 0.06 * smooth_noise(rng, height, width, 3 * scale, 3 * scale)
    blotch = smooth_step((radius - np.hypot(vertical, horizontal)) * np.float32(4))
    texture = 0.85 + 0.13 * smooth_noise(rng, height, width, 7 * scale, 4 * scale)
    return -blotch * texture


def pitted_surface(rng: np.random.Generator, scale: float) -> Field:
    """Draw many small dark pits over an area."""
    height, width = _window(rng, scale, (44, 104), (40, 96))
    rows, columns = pixel_grid(height, width)
    points = scattered_points(rng, height, width, rng.uniform(5, 7) * scale)
    rows = rows + 0.5 * scale * smooth_noise(rng, height, width, 3 * scale, 3 * scale)
    nearest, _ = nearest_two(rows, columns, points, stretch=0.75)
    radius = scale * (1.3 + 0.5 * smooth_noise(rng, height, width, 6 * scale, 6 * scale))
    pits = smooth_step((radius - nearest) / np.float32(1.8 * scale) + 0.5)
    return -pits * _inside(rng, height, width)


def rolled_in_scale(rng: np.random.Generator, scale: float) -> Field:
    """Draw a rough, darkened area of short flat smudges, each with a lit edge below it."""
    height, width = _window(rng, scale, (32, 88), (34, 80))
    relief = smooth_noise(rng, height, width, 2 * scale, 4.5 * scale)
    relief = relief + 0.8 * smooth_noise(rng, height, width, 6 * scale, 9 * scale)
    smudges = smooth_step(0.8 * relief - 0.2)
    shift = max(1, round(1.3 * scale))
    lit_edge = np.clip(np.roll(smudges, shift, axis=0) - smudges, 0, 1)
    return (0.4 * lit_edge - 0.9 * smudges - 0.16) * _inside(rng, height, width)


def scratches(rng: np.random.Generator, scale: float) -> Field:
    """Draw a bundle of thin, bright, nearly straight lines, upright or lying."""
    length, breadth = _window(rng, scale, (50, 180), (11, 24))
    along, across = pixel_grid(length, breadth)
    defect = np.zeros((length, breadth), dtype=np.float32)
    line_count = int(rng.integers(2, 6))
    for index in range(line_count):
        start = breadth * (0.2 + 0.6 * index / (line_count - 1))
        lean = rng.uniform(-0.25, 0.25) * breadth
        axis = start + lean * (along / length - 0.5)
        axis = axis + 0.4 * scale * smooth_noise(rng, length, breadth, 25 * scale, 8.0 * breadth)
        half_width = scale * rng.uniform(0.5, 1.5)
        line = smooth_step((half_width - np.abs(across - axis)) / np.float32(1.6 * scale) + 0.5)
        gleam = 1.0 + 0.45 * smooth_noise(rng, length, breadth, 12 * scale, 8.0 * breadth)
        defect = np.maximum(defect, line * np.clip(gleam, 0.35, 1.8))
    fading = smooth_step(np.minimum(along + 1, length - along) / np.float32(5 * scale))
    defect = defect * fading
    return defect.T if rng.random() < 0.4 else defect


def _window(
    rng: np.random.Generator,
    scale: float,
    heights: tuple[float, float],
    widths: tuple[float, float],
) -> tuple[int, int]:
    """Draw the height and the width of a window in pixels."""
    return round(rng.uniform(*heights) * scale), round(rng.uniform(*widths) * scale)


def _inside(rng: np.random.Generator, height: int, width: int) -> Field:
    """Return 1 inside a rounded, slightly ragged region of the window and 0 outside."""
    rows, columns = pixel_grid(height, width)
    vertical, horizontal = 2 * (rows + 0.5) / height - 1, 2 * (columns + 0.5) / width - 1
    distance = (vertical**4 + horizontal**4) ** np.float32(0.25)
    ragged = 0.04 * smooth_noise(rng, height, width, height / 5, width / 5)
    return smooth_step((1 - distance + ragged) * np.float32(12))


DEFECTS: dict[str, Draw] = {
    "crazing": crazing,
    "inclusion": inclusion,
    "patches": patches,
    "pitted_surface": pitted_surface,
    "rolled-in_scale": rolled_in_scale,
    "scratches": scratches,
}
