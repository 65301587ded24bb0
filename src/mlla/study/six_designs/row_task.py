"""A row of the tables as the training loop sees it, with a record of what it was shown."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from mlla.classification import Recipe, load_classifier, open_split
from mlla.classification.image_split import TransformedImages
from mlla.classification.task import ClassificationTask
from mlla.classification.transforms import scoring_transform, training_transform
from mlla.study.files import write_whole
from mlla.training import Launch, LoopSettings, Moment
from mlla.training.random_numbers import Purpose, seed_generators

# of the pixels, each so manieth row and column counts: all of them would take longer than training
PIXEL_STEP = 8


class RowTask(ClassificationTask):
    """Trains a classifier, and writes a digest of the images and classes of each epoch.

    Args:
        seen: The file for the digests, a line an epoch.
        **parts: As `ClassificationTask` takes them.
    """

    def __init__(self, seen: Path, **parts: Any) -> None:
        super().__init__(**parts)
        self._seen = seen
        self._epoch = -1
        self._digest = hashlib.sha256()
        self.start_sha256 = ""
        self.num_parameters = 0

    def build_model(self) -> nn.Module:
        """Return the model, and remember what it begins with."""
        network = super().build_model()
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        self.start_sha256 = hashlib.sha256(save(weights)).hexdigest()
        self.num_parameters = sum(parameter.numel() for parameter in network.parameters())
        return network

    def loss(self, model: nn.Module, batch: Any, moment: Moment) -> Mapping[str, Tensor]:
        """Return the terms of the loss of a batch that counts as seen."""
        if moment.epoch != self._epoch:
            self._epoch, self._digest = moment.epoch, hashlib.sha256()
        images, targets = batch
        for part in (targets, images[..., ::PIXEL_STEP, ::PIXEL_STEP]):
            self._digest.update(part.cpu().contiguous().numpy().tobytes())
        return super().loss(model, batch, moment)

    def evaluate(self, model: nn.Module, launch: Launch, folder: Path) -> dict[str, float]:
        """Return the figures at the end of an epoch, whose digest is then complete."""
        figures = super().evaluate(model, launch, folder)
        lines = self._seen.read_text(encoding="utf-8").splitlines() if self._seen.exists() else []
        # an epoch that was interrupted after this is trained again
        line = json.dumps({"epoch": self._epoch + 1, "digest": self._digest.hexdigest()})
        write_whole(self._seen, "".join(f"{one}\n" for one in [*lines[: self._epoch], line]))
        return figures

    @staticmethod
    def train_seconds(training: Path) -> float:
        """Return how long all epochs took, with their scores, over all attempts."""
        with (training / "results.csv").open(encoding="utf-8", newline="") as file:
            return float(list(csv.DictReader(file))[-1]["time"])


def row_task(job: Mapping[str, Any], seen: Path) -> RowTask:
    """Return the task of a job.

    Args:
        job: Content of job.json.
        seen: The file for the digests.
    """
    settings = LoopSettings(**job["settings"], seed=job["seed"])
    recipe = Recipe(**job["recipe"])
    train_images, val_images = (open_split(job["data"], split) for split in ("train", "val"))
    class_names = train_images.class_names
    val_images.use_labels_of(class_names)
    seed_generators(settings.seed, Purpose.WEIGHTS)
    classifier = load_classifier(
        job["model"], num_classes=len(class_names), model_args=job["model_args"]
    )
    size = (3, job["image_size"], job["image_size"])
    network = classifier.network
    return RowTask(
        seen,
        classifier=classifier._replace(class_names=class_names),
        train_images=TransformedImages(train_images, training_transform(network, size, recipe)),
        val_images=TransformedImages(val_images, scoring_transform(network, size)),
        recipe=recipe,
        settings=settings,
        arguments={"task": "classification", **{key: job[key] for key in _ARGUMENTS}},
        input_size=size,
    )


_ARGUMENTS = ("model", "model_args", "data", "image_size")
