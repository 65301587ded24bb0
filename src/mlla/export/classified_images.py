"""Labelled images to calibrate and score classifiers with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import nn

from mlla.classification.image_split import TransformedImages, open_split
from mlla.classification.transforms import scoring_transform
from mlla.export.runners import Run

# more change the ranges of activations little
MAX_CALIBRATION_IMAGES = 300


class ClassifiedImages:
    """A data set of folders of classes, as a classifier sees it.

    Args:
        data: The folder.
        network: A model of timm, which says how images are resized and normalised.
        input_size: Channels, height and width.
        class_names: Names of the model's classes, where they are known.
        batch: Images at once.

    Raises:
        FileNotFoundError: If there is no such folder, or no validation split in it.
        ValueError: If its classes are not those of the model.
    """

    def __init__(
        self,
        data: str | Path,
        network: nn.Module,
        input_size: tuple[int, int, int],
        class_names: Sequence[str] | None,
        *,
        batch: int,
    ) -> None:
        self.data, self.batch = data, batch
        self.transform = scoring_transform(network, input_size)
        split = open_split(data, "val")
        if class_names is not None:
            split.use_labels_of(class_names)
        if len(split.class_names) != (known := int(getattr(network, "num_classes", 0))):
            raise ValueError(
                f"data={data} has {len(split.class_names)} classes and the model knows {known}"
            )
        self.images = TransformedImages(split, self.transform)

    def top1(self, run: Run) -> float:
        """Return the share of images whose class is the first answer."""
        right = 0
        for start in range(0, len(self.images), self.batch):
            indices = range(start, min(start + self.batch, len(self.images)))
            samples = [self.images[index] for index in indices]
            images = [np.asarray(image) for image, _ in samples]
            # files of a fixed batch take full ones only
            images += images[-1:] * (self.batch - len(images))
            logits = run(np.stack(images))[0]
            answers = logits[: len(samples)].argmax(-1)
            right += sum(
                int(answer == label) for answer, (_, label) in zip(answers, samples, strict=True)
            )
        return right / len(self.images)

    def calibration(self) -> Iterator[np.ndarray]:
        """Yield batches of training images, spread over all of them."""
        split = TransformedImages(open_split(self.data, "train"), self.transform)
        count = min(len(split), MAX_CALIBRATION_IMAGES)
        for index in np.linspace(0, len(split) - 1, count).astype(int):
            image = np.asarray(split[int(index)][0])
            yield np.stack([image] * self.batch)
