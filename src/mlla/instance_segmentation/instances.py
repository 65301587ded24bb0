"""An image with its objects, and what resizing, mirroring and cropping make of them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class Instances:
    """An image and its objects.

    Args:
        image: RGB.
        boxes: Left, top, right and bottom edge of each object, in pixels.
        labels: Number of the class of each object.
        masks: 1 where the object is.
    """

    image: UInt8[Tensor, "3 H W"]
    boxes: Float[Tensor, "N 4"]
    labels: Int[Tensor, " N"]
    masks: UInt8[Tensor, "N H W"]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.image.shape[-2:]
        return height, width


def mirrored(sample: Instances) -> Instances:
    """Swap left and right."""
    width = sample.size[1]
    left, top, right, bottom = sample.boxes.unbind(dim=1)
    return replace(
        sample,
        image=sample.image.flip(-1),
        boxes=torch.stack([width - right, top, width - left, bottom], dim=1),
        masks=sample.masks.flip(-1),
    )


def resized(sample: Instances, shorter_px: int, longest_px: int) -> Instances:
    """Scale to a length of the shorter side, or less where the longer would exceed its limit."""
    height, width = sample.size
    scale = min(shorter_px / min(height, width), longest_px / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    image = interpolate(sample.image[None].float(), size, mode="bilinear", align_corners=False)[0]
    factor = torch.tensor([size[1] / width, size[0] / height] * 2)
    return replace(
        sample,
        image=image.round().to(torch.uint8),
        boxes=sample.boxes * factor,
        masks=_resized_masks(sample.masks, size),
    )


def cropped(sample: Instances, top: int, left: int, height: int, width: int) -> Instances:
    """Cut out a window; objects of which no part of the box lies inside are left out."""
    shift = sample.boxes.new_tensor([left, top, left, top])
    limit = sample.boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum((sample.boxes - shift).clamp(min=0), limit)
    inside = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    window = (..., slice(top, top + height), slice(left, left + width))
    return Instances(
        sample.image[window], boxes[inside], sample.labels[inside], sample.masks[inside][window]
    )


def _resized_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if len(masks) == 0:
        return masks.new_zeros((0, *size))
    return interpolate(masks[None], size, mode="nearest-exact")[0]
