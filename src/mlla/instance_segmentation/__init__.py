"""Mask R-CNN on MLLA: COCO in, box and mask scores out."""
