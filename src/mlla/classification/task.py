"""Classification as the one training loop sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from mlla.classification.image_split import TransformedImages
from mlla.classification.models import Classifier
from mlla.classification.recipe import Recipe
from mlla.classification.scores import score
from mlla.losses import mesa_loss
from mlla.models import save_pretrained
from mlla.training import Launch, LoopSettings, Moment, Samples, adamw, cosine_schedule

# MESA begins after this share of the epochs
MESA_START = 0.25


class ClassificationTask:
    """Trains a classifier as published.

    Args:
        classifier: What to train, with the names of its classes.
        train_images: Images to learn from.
        val_images: Images to score on.
        recipe: Without None, as `Recipe.for_training` returns it.
        settings: Of the loop.
        arguments: What decides the outcome beside the recipe, for args.yaml.
        input_size: Channels, height and width of the images.
    """

    best_figure = "top1"

    def __init__(
        self,
        classifier: Classifier,
        train_images: TransformedImages,
        val_images: TransformedImages,
        recipe: Recipe,
        settings: LoopSettings,
        *,
        arguments: Mapping[str, Any],
        input_size: tuple[int, int, int],
    ) -> None:
        self.classifier = classifier
        self.train_images, self.val_images = train_images, val_images
        self.recipe, self.settings = recipe, settings
        self.input_size = input_size
        self._arguments = dict(arguments)
        self._mixup = _mixup(recipe, len(train_images.split.class_names))

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the outcome."""
        return {**self._arguments, **asdict(self.recipe)}

    def build_model(self) -> nn.Module:
        """Return the model."""
        return self.classifier.network

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return AdamW with the weight decay of the recipe."""
        return adamw(model, lr=_number(self.recipe.lr), weight_decay=self.recipe.weight_decay)

    def build_schedule(self, optimizer: Optimizer, *, epochs: int, updates_per_epoch: int) -> Any:
        """Return the cosine of the recipe."""
        return cosine_schedule(
            optimizer,
            epochs * updates_per_epoch,
            warmup_updates=round(_number(self.recipe.warmup_epochs) * updates_per_epoch),
            warmup_lr=self.recipe.warmup_lr,
            min_lr=self.recipe.min_lr,
        )

    def training_samples(self) -> Samples:
        """Return the images to learn from."""
        return Samples(self.train_images)

    def loss(self, model: nn.Module, batch: Any, moment: Moment) -> Mapping[str, Tensor]:
        """Return the cross-entropy of mixed images and, from a quarter on, MESA."""
        images, targets = batch
        if self._mixup is not None:
            if len(images) % 2:
                raise ValueError(
                    f"mixup and cutmix pair images, but forward_batch={len(images)} is odd; choose "
                    "an even one, or mixup=0 and cutmix=0"
                )
            images, targets = self._mixup(images, targets)
        logits = model(images).float()
        terms = {"cross_entropy": self._cross_entropy(logits, targets)}
        weight = _number(self.recipe.mesa)
        if weight and moment.epoch >= MESA_START * moment.epochs:
            if moment.average is None:
                raise ValueError("mesa needs a moving average; set ema_decay, or mesa=0")
            with torch.no_grad():
                average_logits = moment.average(images)
            terms["mesa"] = weight * mesa_loss(logits, average_logits)
        return terms

    def evaluate(self, model: nn.Module, launch: Launch, folder: Path) -> dict[str, float]:
        """Return top1, top5 and the loss on the images to score on."""
        return score(
            model,
            self.val_images,
            launch,
            folder,
            batch=self.settings.forward_batch or self.settings.batch,
            workers=self.settings.workers,
        )

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write config.json, with the names of the classes, and model.safetensors."""
        save_pretrained(
            model,
            folder,
            model_args=self.classifier.model_args,
            label_names=self.train_images.split.class_names,
            pretrained_cfg={"input_size": self.input_size},
        )

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        if self._mixup is not None:
            return SoftTargetCrossEntropy()(logits, targets)
        return functional.cross_entropy(
            logits, targets, label_smoothing=self.recipe.label_smoothing
        )


def _mixup(recipe: Recipe, num_classes: int) -> Mixup | None:
    if not (recipe.mixup or recipe.cutmix):
        return None
    return Mixup(
        mixup_alpha=recipe.mixup,
        cutmix_alpha=recipe.cutmix,
        label_smoothing=recipe.label_smoothing,
        num_classes=num_classes,
    )


def _number(value: float | None) -> float:
    if value is None:
        raise ValueError("the recipe is not filled in; call Recipe.for_training first")
    return value
