"""Samples of a COCO split, as torchvision's detectors take them."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mlla.data import DataError
from mlla.instance_segmentation.augmentation import augmented
from mlla.instance_segmentation.coco_split import CocoImage, CocoSplit, learnable_objects
from mlla.instance_segmentation.instances import Instances
from mlla.instance_segmentation.run_lengths import decode_mask


class TrainingSamples:
    """Augmented images with their objects.

    Args:
        split: The images; each must have an object, see `CocoSplit.to_learn_from`.
        size_px: Largest length of the shorter side.
    """

    def __init__(self, split: CocoSplit, size_px: int) -> None:
        self.split = split
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        sample = augmented(load_instances(self.split, index), self.size_px)
        target = {"boxes": sample.boxes, "labels": sample.labels, "masks": sample.masks}
        return to_unit_range(sample.image), target


class EvaluationSamples:
    """Images as they are; the detector resizes them.

    Args:
        split: The images.
    """

    def __init__(self, split: CocoSplit) -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split.images)

    def __getitem__(self, index: int) -> Tensor:
        return to_unit_range(_read_image(self.split.images[index]))


def collate_samples(samples: list[Any]) -> Any:
    """Keep images of different sizes in lists."""
    if isinstance(samples[0], tuple):
        return [list(parts) for parts in zip(*samples, strict=True)]
    return samples


def load_instances(split: CocoSplit, index: int) -> Instances:
    """Read an image with its objects.

    Args:
        split: The split.
        index: Number of the image in it.

    Returns:
        The image and its objects, with the classes counted from 1.

    Raises:
        DataError: If the image cannot be read or is not of the stated size.
    """
    entry = split.images[index]
    objects = learnable_objects(entry)
    numbers = {category: number for number, category in enumerate(split.classes, start=1)}
    boxes = torch.tensor([found["bbox"] for found in objects], dtype=torch.float32).reshape(-1, 4)
    edges = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1).clamp(min=0)
    limit = torch.tensor([entry.width, entry.height] * 2, dtype=torch.float32)
    masks = [decode_mask(found["segmentation"], entry.height, entry.width) for found in objects]
    stacked = np.stack(masks) if masks else np.zeros((0, entry.height, entry.width), np.uint8)
    return Instances(
        _read_image(entry),
        torch.minimum(edges, limit),
        torch.tensor([numbers[found["category_id"]] for found in objects], dtype=torch.int64),
        torch.from_numpy(stacked),
    )


def to_unit_range(image: Tensor) -> Tensor:
    """Return an image as floats from 0 to 1."""
    return image.float() / 255


def _read_image(entry: CocoImage) -> Tensor:
    try:
        with Image.open(entry.path) as image:
            pixels = np.array(image.convert("RGB"))
    except OSError as error:
        raise DataError(f"{entry.path} cannot be read: {error}") from error
    height, width = pixels.shape[:2]
    if (width, height) != (entry.width, entry.height):
        raise DataError(
            f"{entry.path} has {width}x{height} pixels, but its annotations say "
            f"{entry.width}x{entry.height}; they belong to another copy of the image"
        )
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
