"""The augmentation of the published detectors, for images of any size."""

import random

from mlla.instance_segmentation.instances import Instances, cropped, mirrored, resized
from mlla.instance_segmentation.mask_rcnn import PUBLISHED_SIZE_PX, longest_side_px

# shorter sides of the published recipe, in pixels
_TRAINING_SIZES = tuple(range(480, 801, 32))
_SIZES_BEFORE_CROP = (400, 500, 600)
_CROP_FROM, _CROP_TO = 384, 600


def augmented(sample: Instances, size_px: int) -> Instances:
    """Mirror half of the images; resize all to one of eleven sizes, half after a crop.

    Draws from Python's generator.

    Args:
        sample: An image as it is on disk, with its objects.
        size_px: Largest length of the shorter side. 800 gives the published sizes, 480 to 800;
            for another all of them scale along.

    Returns:
        The augmented sample; a crop may have left no object in it.

    Source: arXiv 2005.12872, section 4; mlla_t_mrcnn_1x in LeapLabTHU/MLLA @83a7e43.
    """
    scale = size_px / PUBLISHED_SIZE_PX[0]
    longest = longest_side_px(size_px)
    if random.random() < 0.5:
        sample = mirrored(sample)
    if random.random() < 0.5:
        sample = resized(sample, round(scale * random.choice(_SIZES_BEFORE_CROP)), longest)
        sample = _random_crop(sample, round(scale * _CROP_FROM), round(scale * _CROP_TO))
    return resized(sample, round(scale * random.choice(_TRAINING_SIZES)), longest)


def _random_crop(sample: Instances, from_px: int, to_px: int) -> Instances:
    height, width = (random.randint(min(side, from_px), min(side, to_px)) for side in sample.size)
    top = random.randint(0, sample.size[0] - height)
    left = random.randint(0, sample.size[1] - width)
    return cropped(sample, top, left, height, width)
