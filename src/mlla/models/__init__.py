"""Backbones; importing this registers them with timm."""

from mlla.models import timm_entrypoints as timm_entrypoints
from mlla.models.mlla import MLLA
from mlla.models.published_weights import load_published

__all__ = ["MLLA", "load_published"]
