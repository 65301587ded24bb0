"""Mask R-CNN on MLLA: COCO in, box and mask scores out."""

from mlla.instance_segmentation.convert import convert_masks, convert_polygons
from mlla.instance_segmentation.mask_rcnn import mask_rcnn
from mlla.instance_segmentation.published_detector import convert_published_detector
from mlla.instance_segmentation.routes import train, validate
from mlla.instance_segmentation.saved_detector import load_detector, save_detector

__all__ = [
    "convert_masks",
    "convert_polygons",
    "convert_published_detector",
    "load_detector",
    "mask_rcnn",
    "save_detector",
    "train",
    "validate",
]
