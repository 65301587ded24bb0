"""Images to compare on: patterns of every size, since flat noise averages out.

A network whose features hardly differ from place to place hides what an exporter got wrong.
"""

from __future__ import annotations

import numpy as np

_PATCHES_PX = (1, 4, 16, 64)


def make_images(
    shape: tuple[int, int, int, int], seed: int, pixel_range: tuple[float, float]
) -> np.ndarray:
    """Return random images, the same for the same arguments.

    Args:
        shape: Batch, channels, height and width.
        seed: Of the random numbers.
        pixel_range: Least and largest value.

    Returns:
        float32, of that shape.
    """
    generator = np.random.default_rng(seed)
    batch, channels, height, width = shape
    images = np.zeros(shape)
    for patch in _PATCHES_PX:
        rows, columns = -(-height // patch), -(-width // patch)
        patches = generator.random((batch, channels, rows, columns))
        images += np.kron(patches, np.ones((patch, patch)))[:, :, :height, :width]
    images = (images - images.min()) / max(np.ptp(images), 1e-9)
    least, largest = pixel_range
    return (least + (largest - least) * images).astype(np.float32)
