"""From an image to the class of each of its pixels, at the size of the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlla.semantic_segmentation.augmentation import resized, to_unit_range


@dataclass(frozen=True)
class Inference:
    """How an image is given to a segmenter.

    Args:
        size_px: The shorter side is resized to this, the longer at most to four times that; None
            leaves images as they are.
        window_px: Height and width of a window that slides over the resized image; None gives the
            image as a whole.
        stride_px: From one window to the next; None for two thirds of a window.
        scales: Probabilities are averaged over these multiples of the size.
        flip: Average over the mirrored image, too.

    Raises:
        ValueError: If a number makes no sense.
    """

    size_px: int | None = 512
    window_px: int | None = None
    stride_px: int | None = None
    scales: Sequence[float] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        for name in ("size_px", "window_px", "stride_px"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1 pixel, or None")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"scales={tuple(self.scales)} must be positive, such as (1.0,)")
        if self.stride_px and self.stride_px > (self.window_px or 0):
            raise ValueError(
                f"stride_px={self.stride_px} must be at most window_px={self.window_px}, so that "
                "windows leave no gap"
            )


@torch.no_grad()
def segment(model: nn.Module, image: np.ndarray, inference: Inference) -> Tensor:
    """Return the probability of each class at each pixel.

    Args:
        model: A segmenter in evaluation mode.
        image: RGB as bytes, (H, W, 3).
        inference: How to look at it.

    Returns:
        (num_classes, H, W), on the device of the model.
    """
    device = next(model.parameters()).device
    size = image.shape[:2]
    total: Tensor | None = None
    shortest = inference.size_px or min(size)
    for scale in inference.scales:
        keeps_size = inference.size_px is None and scale == 1
        pixels = image if keeps_size else resized(image, None, round(shortest * scale))[0]
        batch = to_unit_range(pixels)[None].to(device)
        for is_mirrored in (False, True) if inference.flip else (False,):
            logits = _logits(model, batch.flip(3) if is_mirrored else batch, inference)
            logits = logits.flip(3) if is_mirrored else logits
            logits = functional.interpolate(
                logits.float(), size=size, mode="bilinear", align_corners=False
            )
            probabilities = logits.softmax(dim=1)[0]
            total = probabilities if total is None else total + probabilities
    assert total is not None
    return total / (len(inference.scales) * (1 + inference.flip))


def _logits(model: nn.Module, image: Tensor, inference: Inference) -> Tensor:
    if inference.window_px is None:
        return model(image)
    window = inference.window_px
    stride = inference.stride_px or max(1, window * 2 // 3)
    height, width = image.shape[2:]
    sums: Tensor | None = None
    counts = image.new_zeros(1, 1, height, width)
    for top in _starts(height, window, stride):
        for left in _starts(width, window, stride):
            place = (..., slice(top, top + window), slice(left, left + window))
            logits = model(image[place])
            if sums is None:
                sums = logits.new_zeros(1, logits.shape[1], height, width)
            sums[place] += logits
            counts[place] += 1
    assert sums is not None
    return sums / counts


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Return where windows start; the last one ends with the image."""
    last = max(0, length - window)
    return [*range(0, last, stride), last]
