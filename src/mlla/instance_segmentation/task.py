"""Mask R-CNN as the training loop sees it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from mlla.data import DataError
from mlla.instance_segmentation.coco_split import CocoSplit, read_split
from mlla.instance_segmentation.dataset import (
    EvaluationSamples,
    TrainingSamples,
    collate_samples,
)
from mlla.instance_segmentation.mask_rcnn import PUBLISHED_SIZE_PX
from mlla.instance_segmentation.saved_detector import Description, save_detector
from mlla.instance_segmentation.schedule import (
    SCHEDULES,
    Schedule,
    published_adamw,
    published_steps,
)
from mlla.instance_segmentation.scores import coco_detections, coco_scores
from mlla.models.feature_backbone import load_backbone_weights
from mlla.training import Launch, Moment, Samples, evaluation_batches

# the stride of the coarsest map of a backbone
_SMALLEST_PX = 32


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train on what, with the published values as defaults.

    Args:
        data: Folder of a COCO data set with the splits train and val.
        model: Name of a timm model, the backbone.
        weights: Weights of the backbone, see `load_backbone_weights`; None for random ones.
        schedule: "1x" or "3x".
        epochs: Another number of epochs than that of the schedule, whose steps scale along.
        imgsz: Largest length of the shorter side of an image, in pixels.
        lr: Learning rate, for updates of 16 images.
        weight_decay: Of everything but norms.
        backbone_options: Further arguments of the timm model.
        detector_options: Further arguments of torchvision's Mask R-CNN.

    Raises:
        ValueError: If the schedule is unknown, or a number makes no sense.
    """

    data: str
    model: str = "mlla_tiny"
    weights: str | None = None
    schedule: str = "1x"
    epochs: int | None = None
    imgsz: int = PUBLISHED_SIZE_PX[0]
    lr: float = 1e-4
    weight_decay: float = 0.05
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    detector_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} must be one of {', '.join(SCHEDULES)}")
        for name, least in (("epochs", 1), ("imgsz", _SMALLEST_PX)):
            value = getattr(self, name)
            if value is None and name == "epochs":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name}={value!r} must be a whole number from {least} on")
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise ValueError(f"{name}={value!r} must be a number")

    @property
    def steps(self) -> Schedule:
        """The schedule, for the epochs asked for."""
        published = SCHEDULES[self.schedule]
        return published if self.epochs is None else published.lasting(self.epochs)


class MaskRCNNTask:
    """Train Mask R-CNN on a COCO data set.

    Args:
        recipe: What to train on what.
        batch: Images of a forward pass at evaluation.
        workers: Processes that read at evaluation.

    Raises:
        DataError: If the splits cannot be read, have different classes, or val has no object.
    """

    best_figure = "mask_AP"

    def __init__(self, recipe: Recipe, *, batch: int = 1, workers: int = 0) -> None:
        self.recipe, self.batch, self.workers = recipe, batch, workers
        self.train = read_split(recipe.data, "train").to_learn_from()
        self.val = read_split(recipe.data, "val")
        if self.train.classes != self.val.classes:
            raise DataError(
                f"{self.train.file} and {self.val.file} have different categories; one list is "
                "needed for both"
            )
        self.val.to_learn_from()
        self.description = Description(
            backbone=recipe.model,
            classes=self.train.classes,
            size_px=recipe.imgsz,
            backbone_options=recipe.backbone_options,
            detector_options=recipe.detector_options,
        )

    def arguments(self) -> dict[str, Any]:
        """Return what decides the outcome."""
        return {"task": "mask-rcnn", **asdict(self.recipe)}

    def build_model(self) -> nn.Module:
        """Return the detector, its backbone with the given weights."""
        model = self.description.build(self.recipe.steps.drop_path_rate)
        if self.recipe.weights is not None:
            load_backbone_weights(model.backbone.body, self.recipe.weights)
        return model

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return AdamW."""
        return published_adamw(model, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)

    def build_schedule(self, optimizer: Optimizer, *, epochs: int, updates_per_epoch: int) -> Any:
        """Return the steps of the learning rate."""
        schedule = self.recipe.steps.lasting(epochs)
        return published_steps(optimizer, schedule, updates_per_epoch, self.recipe.lr)

    def training_samples(self) -> Samples:
        """Return the augmented images."""
        return Samples(TrainingSamples(self.train, self.recipe.imgsz), collate_samples)

    def loss(self, model: nn.Module, batch: Any, _moment: Moment) -> Mapping[str, Tensor]:
        """Return the five losses of Mask R-CNN."""
        images, targets = batch
        return model(images, targets)

    def evaluate(self, model: nn.Module, launch: Launch, folder: Path) -> dict[str, float]:
        """Score the detector on the split val."""
        return evaluate_split(
            model, self.val, launch, folder, batch=self.batch, workers=self.workers
        )

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what `load_detector` reads."""
        save_detector(model, self.description, folder)


def evaluate_split(
    model: nn.Module,
    split: CocoSplit,
    launch: Launch,
    folder: Path | None,
    *,
    batch: int = 1,
    workers: int = 0,
) -> dict[str, float]:
    """Find the objects of a split and score them.

    Args:
        model: A detector in evaluation mode, its labels in the order of the classes.
        split: The split.
        launch: The processes.
        folder: Where the main process writes detections.json, in the format of COCO results, and
            per_class.json; None for nowhere.
        batch: Images of a forward pass.
        workers: Processes that read.

    Returns:
        The figures of `coco_scores`.
    """
    numbers = list(split.classes)
    entries: list[dict[str, Any]] = []
    for indices, images in evaluation_batches(
        EvaluationSamples(split), launch, batch=batch, workers=workers, collate=collate_samples
    ):
        for index, found in zip(indices, model(images), strict=True):
            entries += coco_detections(found, split.images[index].number, numbers)
    entries = launch.gather(entries)
    figures, per_class = coco_scores(split.file, entries)
    if launch.is_main and folder is not None:
        (folder / "detections.json").write_text(json.dumps(entries), "utf-8")
        (folder / "per_class.json").write_text(json.dumps(per_class, indent=1), "utf-8")
    return figures
