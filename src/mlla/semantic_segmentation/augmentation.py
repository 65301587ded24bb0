"""The augmentation of the published segmenter: scale, crop, mirror, change colours, pad.

Everything is drawn from Python's generator.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional

from mlla.semantic_segmentation.confusion import IGNORED

# of the shorter side, as a multiple of `size_px`
_SCALES = (0.5, 2.0)
# what one class may take of a crop, and how often another crop is tried
_LARGEST_SHARE, _TRIES = 0.75, 10
# of 255; as factors; as part of the circle
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32 / 255, (0.5, 1.5), (0.5, 1.5), 0.1
# longest side of a resized image, as a multiple of the shortest
LONGEST_SIDE = 4
# the colour that normalisation turns into zero
_PADDING = (0.485, 0.456, 0.406)


def augmented(
    image: np.ndarray, classes: np.ndarray, *, size_px: int, crop_px: int
) -> tuple[Tensor, Tensor]:
    """Draw a crop of an image and its mask.

    Args:
        image: RGB as bytes, (H, W, 3).
        classes: Bytes, (H, W).
        size_px: Length of the shorter side that scales are multiples of.
        crop_px: Height and width of the crop.

    Returns:
        The crop of the image, (3, crop_px, crop_px) from 0 to 1, and its classes as int64; 255
        where the crop exceeds the image.

    Source: mlla_b_upernet and the data set it names in LeapLabTHU/MLLA @66b6d29.
    """
    scale = random.uniform(*_SCALES)
    image, classes = resized(image, classes, round(scale * size_px))
    image, classes = _random_crop(image, classes, crop_px)
    if random.random() < 0.5:
        image, classes = image[:, ::-1], classes[:, ::-1]
    colours = _changed_colours(to_unit_range(image))
    target = torch.from_numpy(np.array(classes)).long()
    return _pad(colours, target, crop_px)


def resized(
    image: np.ndarray, classes: np.ndarray | None, size_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resize so that the shorter side has a length, and the longer at most four times that.

    Args:
        image: RGB as bytes, (H, W, 3).
        classes: Bytes, (H, W); None for nothing.
        size_px: Length of the shorter side.

    Returns:
        Both, resized; the mask without mixing classes.
    """
    height, width = image.shape[:2]
    longest = LONGEST_SIDE * size_px
    scale = min(size_px / min(height, width), longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    mask = np.zeros((height, width), np.uint8) if classes is None else classes
    return (
        np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)),
        np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST)),
    )


def to_unit_range(image: np.ndarray) -> Tensor:
    """Return an image as (3, H, W) from 0 to 1."""
    # a copy: images read from files are not writable
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def _random_crop(
    image: np.ndarray, classes: np.ndarray, crop_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """Crop where no class takes nearly all of it, if such a place is found soon."""
    height, width = classes.shape
    for _ in range(_TRIES):
        top = random.randint(0, max(0, height - crop_px))
        left = random.randint(0, max(0, width - crop_px))
        place = (slice(top, top + crop_px), slice(left, left + crop_px))
        counts = np.bincount(classes[place].ravel(), minlength=IGNORED + 1)[:IGNORED]
        if np.count_nonzero(counts) > 1 and counts.max() < _LARGEST_SHARE * counts.sum():
            break
    return image[place], classes[place]


def _changed_colours(image: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue, each in half of the images."""
    if random.random() < 0.5:
        image = (image + random.uniform(-_BRIGHTNESS, _BRIGHTNESS)).clamp(0, 1)
    contrast_first = random.random() < 0.5
    if contrast_first:
        image = _changed_contrast(image)
    if random.random() < 0.5:
        image = functional.adjust_saturation(image, random.uniform(*_SATURATION))
    if random.random() < 0.5:
        image = functional.adjust_hue(image, random.uniform(-_HUE, _HUE))
    return image if contrast_first else _changed_contrast(image)


def _changed_contrast(image: Tensor) -> Tensor:
    if random.random() < 0.5:
        return (image * random.uniform(*_CONTRAST)).clamp(0, 1)
    return image


def _pad(image: Tensor, target: Tensor, crop_px: int) -> tuple[Tensor, Tensor]:
    height, width = target.shape
    padded = torch.tensor(_PADDING).view(3, 1, 1).repeat(1, crop_px, crop_px)
    padded[:, :height, :width] = image
    classes = torch.full((crop_px, crop_px), IGNORED)
    classes[:height, :width] = target
    return padded, classes
