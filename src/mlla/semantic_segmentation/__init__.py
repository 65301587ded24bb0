"""Semantic segmentation on MLLA: folders of images and masks in, mean IoU out."""
