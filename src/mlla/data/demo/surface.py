"""Plain rolled steel without a defect: grain, rolling streaks, mottling and uneven light."""

from __future__ import annotations

import numpy as np

from mlla.data.demo.noise import Field, pixel_grid, smooth_noise


def steel_surface(rng: np.random.Generator, size_px: int) -> Field:
    """Draw one square piece of steel.

    Args:
        rng: Source of randomness.
        size_px: Height and width.

    Returns:
        Grey levels around 0..255, not yet clipped, (size_px, size_px).
    """
    far = 4.0 * size_px
    surface = np.full((size_px, size_px), rng.uniform(65, 190), dtype=np.float32)
    surface += rng.uniform(1, 6) * smooth_noise(rng, size_px, size_px, far, rng.uniform(1.5, 5))
    surface += rng.uniform(3, 12) * smooth_noise(rng, size_px, size_px, far, size_px / 4)
    surface += rng.uniform(1, 7) * smooth_noise(rng, size_px, size_px, size_px / 3, size_px / 5)
    grain = smooth_noise(rng, size_px, size_px, rng.uniform(1.2, 2.5), rng.uniform(1.2, 5))
    surface += (2 + 10 * rng.random() ** 2) * grain
    return surface * _light(rng, size_px)


def _light(rng: np.random.Generator, size_px: int) -> Field:
    """Draw the brightness of the lamp: a slope in one direction and a fall towards the corners."""
    rows, columns = (axis / size_px - 0.5 for axis in pixel_grid(size_px, size_px))
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(0, 0.5) * (np.cos(angle) * columns + np.sin(angle) * rows)
    vignette = rng.uniform(0, 0.6) * (rows**2 + columns**2)
    return np.asarray(1 + slope - vignette, dtype=np.float32)
