"""Losses on class scores: pure functions, and modules to put where `nn.BCEWithLogitsLoss` is."""

from mlla.losses.ema_slide import EMASlideLoss
from mlla.losses.focal import FocalLoss, focal_loss
from mlla.losses.mesa import mesa_loss
from mlla.losses.quality_focal import QualityFocalLoss, quality_focal_loss
from mlla.losses.slide import SlideLoss, mean_of_positives, slide_loss, slide_weight
from mlla.losses.varifocal import VarifocalLoss, varifocal_loss

__all__ = [
    "EMASlideLoss",
    "FocalLoss",
    "QualityFocalLoss",
    "SlideLoss",
    "VarifocalLoss",
    "focal_loss",
    "mean_of_positives",
    "mesa_loss",
    "quality_focal_loss",
    "slide_loss",
    "slide_weight",
    "varifocal_loss",
]
