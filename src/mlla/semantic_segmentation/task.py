"""Semantic segmentation as the one training loop sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from mlla.semantic_segmentation.augmentation import augmented
from mlla.semantic_segmentation.backbone_weights import load_backbone
from mlla.semantic_segmentation.confusion import IGNORED
from mlla.semantic_segmentation.decoders import POOLING_DECODERS
from mlla.semantic_segmentation.dice import dice_loss
from mlla.semantic_segmentation.inference import Inference
from mlla.semantic_segmentation.mask_split import MaskSplit
from mlla.semantic_segmentation.recipe import SegmentationRecipe
from mlla.semantic_segmentation.score import SCORES_NAME, score_split, write_scores
from mlla.semantic_segmentation.segmenter import Segmenter, SegmenterPlan
from mlla.semantic_segmentation.segmenter_folder import save_segmenter
from mlla.training import Launch, LoopSettings, Moment, Samples, adamw, poly_schedule

# where the rise of the learning rate begins, as a share of it
_WARMUP_START = 1e-6


class _Crops:
    """Augmented crops of a split."""

    def __init__(self, split: MaskSplit, recipe: SegmentationRecipe) -> None:
        self.split, self.recipe = split, recipe

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, classes = self.split.read(index)
        return augmented(image, classes, size_px=self.recipe.size_px, crop_px=self.recipe.crop_px)


class SegmentationTask:
    """Trains a segmenter as published.

    Args:
        plan: What to train.
        weights: A published file, or a folder, with the weights of the backbone; None for fresh
            ones.
        train_split: Images to learn from.
        val_split: Images to score on.
        recipe: Optimisation and augmentation.
        settings: Of the loop.
        arguments: What decides the outcome beside all these, for args.yaml.
    """

    best_figure = "mIoU"

    def __init__(
        self,
        plan: SegmenterPlan,
        weights: str | Path | None,
        train_split: MaskSplit,
        val_split: MaskSplit,
        recipe: SegmentationRecipe,
        settings: LoopSettings,
        *,
        arguments: Mapping[str, Any],
    ) -> None:
        self.plan, self.weights = plan, weights
        self.train_split, self.val_split = train_split, val_split
        self.recipe, self.settings = recipe, settings
        self._arguments = dict(arguments)

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the outcome."""
        weights = None if self.weights is None else str(self.weights)
        plan = {name: value for name, value in self.plan.as_dict().items() if name != "auxiliary"}
        return {**self._arguments, **plan, "weights": weights, **asdict(self.recipe)}

    def build_model(self) -> nn.Module:
        """Return the segmenter, with the weights of a backbone in it where they are given."""
        model = Segmenter(self.plan)
        if self.weights is not None:
            load_backbone(model, self.weights)
        return model

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return AdamW with the rate and decay of the recipe."""
        return adamw(model, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)

    def build_schedule(self, optimizer: Optimizer, *, epochs: int, updates_per_epoch: int) -> Any:
        """Return the polynomial fall of the recipe."""
        updates = epochs * updates_per_epoch
        return poly_schedule(
            optimizer,
            updates,
            power=self.recipe.power,
            warmup_updates=self.recipe.warmup_of(updates),
            warmup_lr=_WARMUP_START * self.recipe.lr,
        )

    def training_samples(self) -> Samples:
        """Return crops of the images to learn from."""
        return Samples(_Crops(self.train_split, self.recipe))

    def loss(self, model: nn.Module, batch: Any, moment: Moment) -> Mapping[str, Tensor]:
        """Return the cross-entropy of both heads, and Dice where the recipe has it."""
        images, target = batch
        if len(images) == 1 and self.plan.decoder in POOLING_DECODERS:
            raise ValueError(
                f"forward_batch=1: the batch norms of decoder={self.plan.decoder} need at least 2 "
                "images at once; choose forward_batch=2 and a multiple of it as batch"
            )
        outputs = model(images)
        logits, second = outputs if isinstance(outputs, tuple) else (outputs, None)
        terms = {"cross_entropy": _cross_entropy(logits, target)}
        if self.recipe.dice_weight:
            terms["dice"] = self.recipe.dice_weight * dice_loss(logits, target)
        if second is not None:
            terms["auxiliary"] = self.recipe.auxiliary_weight * _cross_entropy(second, target)
        return terms

    def evaluate(self, model: nn.Module, launch: Launch, folder: Path) -> dict[str, float]:
        """Return mIoU, mAcc and aAcc on the images to score on, whole images at their size."""
        scores = score_split(
            model,
            self.val_split,
            Inference(size_px=self.recipe.size_px),
            launch,
            workers=self.settings.workers,
        )
        if launch.is_main:
            write_scores(scores, folder / SCORES_NAME)
        return scores.figures()

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write config.json, with the names of the classes, and model.safetensors."""
        if not isinstance(model, Segmenter):
            raise TypeError(f"model is a {type(model).__name__}, not the segmenter of this task")
        save_segmenter(model, folder, self.train_split.labels, size_px=self.recipe.size_px)


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Average over all pixels, those that do not count among them, as the published training."""
    losses = functional.cross_entropy(
        logits.float(), target, ignore_index=IGNORED, reduction="none"
    )
    return losses.mean()
