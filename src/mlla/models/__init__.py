"""Backbones and segmenters; importing this registers the backbones with timm."""

from mlla.models import six_designs_entrypoints as six_designs_entrypoints
from mlla.models import timm_entrypoints as timm_entrypoints
from mlla.models.linear_swin import LinearSwin
from mlla.models.mlla import MLLA
from mlla.models.pretrained import from_pretrained, save_pretrained
from mlla.models.published_weights import load_published
from mlla.models.vm_unet import VMUNet

__all__ = ["MLLA", "LinearSwin", "VMUNet", "from_pretrained", "load_published", "save_pretrained"]
