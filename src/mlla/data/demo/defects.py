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
    """Draw a network of fine dark cracks over an area, wider than high."""
    height, width = _window(rng, scale, (34, 70), (44, 90))
    rows, columns = pixel_grid(height, width)
    rows = rows + 1.6 * scale * smooth_noise(rng, height, width, 4 * scale, 4 * scale)
    columns = columns + 1.6 * scale * smooth_noise(rng, height, width, 4 * scale, 4 * scale)
    points = scattered_points(rng, height, width, rng.uniform(9, 13) * scale)
    nearest, second = nearest_two(rows, columns, points, stretch=1.6)
    cracks = smooth_step(1.5 - (second - nearest) / np.float32(scale))
    broken = smooth_step(0.9 + smooth_noise(rng, height, width, 9 * scale, 9 * scale))
    return -cracks * (0.35 + 0.65 * broken) * _inside(rng, height, width)


def inclusion(rng: np.random.Generator, scale: float) -> Field:
    """Draw dark spindles in the rolling direction, end to end in a narrow column."""
    height, width = _window(rng, scale, (28, 90), (9, 18))
    rows, columns = pixel_grid(height, width)
    spindle_count = int(rng.integers(1, 4))
    defect = np.zeros((height, width), dtype=np.float32)
    for index in range(spindle_count):
        middle = height * (index + 0.5) / spindle_count
        half_length = height / spindle_count * rng.uniform(0.5, 0.62)
        along = np.clip(1 - ((rows - middle) / half_length) ** 2, 0, 1)
        wobble = smooth_noise(rng, height, width, 7 * scale, 8.0 * width)
        half_width = width * (0.36 + 0.1 * wobble) * np.sqrt(along)
        axis = width * (0.5 + 0.08 * smooth_noise(rng, height, width, 18 * scale, 8.0 * width))
        spindle = smooth_step((half_width - np.abs(columns - axis)) / np.float32(1.5 * scale))
        defect = np.maximum(defect, spindle)
    return -defect * (0.85 + 0.1 * smooth_noise(rng, height, width, 5 * scale, 2 * scale))


def patches(rng: np.random.Generator, scale: float) -> Field:
    """Draw one irregular dark blotch with a soft, ragged rim."""
    height, width = _window(rng, scale, (28, 70), (24, 56))
    rows, columns = pixel_grid(height, width)
    vertical, horizontal = 2 * rows / height - 1, 2 * columns / width - 1
    angle = np.arctan2(vertical, horizontal)
    radius = np.full_like(angle, 0.82)
    for waves in range(2, 7):
        phase = rng.uniform(0, 2 * np.pi)
        radius += rng.uniform(0, 0.24) / waves * np.cos(waves * angle + phase)
    radius += 0.04 * smooth_noise(rng, height, width, 3 * scale, 3 * scale)
    blotch = smooth_step((radius - np.hypot(vertical, horizontal)) * np.float32(4.5))
    texture = 0.85 + 0.13 * smooth_noise(rng, height, width, 6 * scale, 4 * scale)
    return -blotch * texture


def pitted_surface(rng: np.random.Generator, scale: float) -> Field:
    """Draw many small dark pits over an area."""
    height, width = _window(rng, scale, (44, 100), (40, 90))
    rows, columns = pixel_grid(height, width)
    points = scattered_points(rng, height, width, rng.uniform(5.5, 7.5) * scale)
    rows = rows + 0.5 * scale * smooth_noise(rng, height, width, 3 * scale, 3 * scale)
    nearest, _ = nearest_two(rows, columns, points, stretch=0.8)
    radius = scale * (1.9 + 0.5 * smooth_noise(rng, height, width, 7 * scale, 7 * scale))
    pits = smooth_step((radius - nearest) / np.float32(1.2 * scale) + 0.5)
    return -pits * _inside(rng, height, width)


def rolled_in_scale(rng: np.random.Generator, scale: float) -> Field:
    """Draw a rough area of short flat smudges, each with a lit edge below it."""
    height, width = _window(rng, scale, (30, 84), (32, 76))
    relief = smooth_noise(rng, height, width, 2.6 * scale, 5.5 * scale)
    relief = relief + 0.4 * smooth_noise(rng, height, width, 1.5 * scale, 2.5 * scale)
    smudges = smooth_step(1.5 * relief - 0.35)
    shift = max(1, round(1.5 * scale))
    lit_edge = np.clip(np.roll(smudges, shift, axis=0) - smudges, 0, 1)
    return (0.55 * lit_edge - smudges) * _inside(rng, height, width)


def scratches(rng: np.random.Generator, scale: float) -> Field:
    """Draw a bundle of thin, bright, nearly straight lines, upright or lying."""
    length, breadth = _window(rng, scale, (50, 150), (10, 20))
    along, across = pixel_grid(length, breadth)
    defect = np.zeros((length, breadth), dtype=np.float32)
    line_count = int(rng.integers(2, 5))
    for index in range(line_count):
        start = breadth * (0.16 + 0.68 * index / (line_count - 1))
        lean = rng.uniform(-0.14, 0.14) * breadth
        axis = start + lean * (along / length - 0.5)
        axis = axis + 0.3 * scale * smooth_noise(rng, length, breadth, 25 * scale, 8.0 * breadth)
        half_width = scale * rng.uniform(0.7, 1.7)
        line = smooth_step((half_width - np.abs(across - axis)) / np.float32(scale) + 0.5)
        gleam = 0.75 + 0.3 * smooth_noise(rng, length, breadth, 9 * scale, 8.0 * breadth)
        defect = np.maximum(defect, line * np.clip(gleam, 0.3, 1.2))
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
