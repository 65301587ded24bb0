"""Semantic segmentation on MLLA: folders of images and masks in, mean IoU out."""

from mlla.semantic_segmentation.confusion import (
    SegmentationScores,
    confusion_matrix,
    scores_of,
)
from mlla.semantic_segmentation.decoders import DECODER_ARGS
from mlla.semantic_segmentation.inference import Inference, segment
from mlla.semantic_segmentation.label_map import LabelMap
from mlla.semantic_segmentation.mask_split import MaskSplit
from mlla.semantic_segmentation.open_data import open_split
from mlla.semantic_segmentation.published_segmenter import convert_published_segmenter
from mlla.semantic_segmentation.recipe import SegmentationRecipe
from mlla.semantic_segmentation.segmenter import Segmenter, SegmenterPlan
from mlla.semantic_segmentation.segmenter_folder import load_segmenter, save_segmenter
from mlla.semantic_segmentation.train import train
from mlla.semantic_segmentation.validate import validate

__all__ = [
    "DECODER_ARGS",
    "Inference",
    "LabelMap",
    "MaskSplit",
    "SegmentationRecipe",
    "SegmentationScores",
    "Segmenter",
    "SegmenterPlan",
    "confusion_matrix",
    "convert_published_segmenter",
    "load_segmenter",
    "open_split",
    "save_segmenter",
    "scores_of",
    "segment",
    "train",
    "validate",
]
