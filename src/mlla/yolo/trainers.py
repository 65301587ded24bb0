# SPDX-License-Identifier: AGPL-3.0-only
"""Ultralytics' trainers, able to build the packaged models and to save whole files.

Child processes of multi-GPU training import their trainer from here and with it register our
modules.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer
from ultralytics.models import yolo
from ultralytics.models.rtdetr.train import RTDETRTrainer as StockRTDETRTrainer

from mlla.yolo.cls_loss import ChoosesClassLoss
from mlla.yolo.config import model_config
from mlla.yolo.expand import Config
from mlla.yolo.transfer import aligned
from mlla.yolo.weight_decay import spare_scans


class OurModels:
    """Mixed into a trainer of Ultralytics, before it."""

    wdir: Path
    last: Path
    best: Path

    def get_model(
        self,
        cfg: str | Path | Config | None = None,
        weights: nn.Module | None = None,
        verbose: bool = True,
    ) -> nn.Module:
        """Build a model by name or configuration, with weights matched row by row."""
        config = None if cfg is None else model_config(cfg)
        if weights is not None and config is not None:
            weights = aligned(weights, config)
        return super().get_model(cfg=config, weights=weights, verbose=verbose)  # type: ignore[misc]

    def build_optimizer(self, model: nn.Module, *args: Any, **kwargs: Any) -> Optimizer:
        """Build the optimizer; parameters of scans that must not decay do not."""
        optimizer = super().build_optimizer(model, *args, **kwargs)  # type: ignore[misc]
        spare_scans(optimizer, model)
        return optimizer

    def save_model(self) -> Any:
        """Save the checkpoints of this epoch so that a kill leaves the old or the new file."""
        final = {"wdir": self.wdir, "last": self.last, "best": self.best}
        draft = self.wdir / ".writing"
        # an earlier run may have been killed in the middle of its draft
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        self.wdir, self.last, self.best = (
            draft,
            draft / self.last.name,
            draft / self.best.name,
        )
        try:
            result = super().save_model()  # type: ignore[misc]
            for file in draft.iterdir():
                # opened for writing: Windows flushes no other
                with file.open("r+b") as stream:
                    os.fsync(stream.fileno())
                file.replace(final["wdir"] / file.name)
        finally:
            self.wdir, self.last, self.best = final["wdir"], final["last"], final["best"]
            shutil.rmtree(draft, ignore_errors=True)
        return result


class DetectionTrainer(ChoosesClassLoss, OurModels, yolo.detect.DetectionTrainer):
    """Trains detectors."""


class SegmentationTrainer(ChoosesClassLoss, OurModels, yolo.segment.SegmentationTrainer):
    """Trains instance segmenters."""


class PoseTrainer(ChoosesClassLoss, OurModels, yolo.pose.PoseTrainer):
    """Trains keypoint detectors."""


class OBBTrainer(ChoosesClassLoss, OurModels, yolo.obb.OBBTrainer):
    """Trains detectors of oriented boxes."""


class ClassificationTrainer(OurModels, yolo.classify.ClassificationTrainer):
    """Trains classifiers."""


class RTDETRTrainer(OurModels, StockRTDETRTrainer):
    """Trains RT-DETR."""


TRAINERS = {
    "detect": DetectionTrainer,
    "segment": SegmentationTrainer,
    "pose": PoseTrainer,
    "obb": OBBTrainer,
    "classify": ClassificationTrainer,
}
