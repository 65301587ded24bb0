"""One split of a dataset of images and masks, and how to read a sample of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlla.data import DataError
from mlla.semantic_segmentation.label_map import LabelMap


@dataclass(frozen=True)
class MaskSplit:
    """Images with their masks.

    Args:
        pairs: Files of an image and its mask.
        labels: What the numbers in masks mean.
        num_unlabelled: Images beside these that have no mask.
    """

    pairs: Sequence[tuple[Path, Path]]
    labels: LabelMap
    num_unlabelled: int = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a sample.

        Args:
            index: Number of the sample.

        Returns:
            The image (H, W, 3) in RGB, and the classes (H, W), 255 where they are ignored; bytes
            both.

        Raises:
            DataError: If a file cannot be read, the two differ in size, or the mask holds a number
                that is no class.
        """
        image_file, mask_file = self.pairs[index]
        image = np.asarray(_open(image_file).convert("RGB"))
        mask = _read_mask(mask_file)
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"{mask_file} has {mask.shape[1]}x{mask.shape[0]} pixels, but {image_file} has "
                f"{image.shape[1]}x{image.shape[0]}; a mask must have the size of its image"
            )
        try:
            return image, self.labels.classes_of(mask)
        except DataError as error:
            raise DataError(f"{mask_file}: {error}") from error


def _open(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    # damaged bytes make the decoders of Pillow raise nearly anything
    except Exception as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return image


def _read_mask(path: Path) -> np.ndarray:
    image = _open(path)
    # of a palette image, the numbers; colours are for people
    if image.mode not in ("L", "P", "1") and not image.mode.startswith("I"):
        raise DataError(
            f"{path} is a {image.mode} image; a mask must hold one number for each pixel (grey or "
            "palette, 8 or 16 bits), so turn its colours into numbers first"
        )
    numbers = np.asarray(image).astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= 1 << 16:
        raise DataError(f"{path} holds numbers beyond 0 to 65535")
    return numbers
