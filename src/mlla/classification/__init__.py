"""Classification as published: train, resume exactly, score."""

from mlla.classification.image_split import ImageSplit, open_split
from mlla.classification.models import load_classifier
from mlla.classification.recipe import Recipe
from mlla.classification.train import train
from mlla.classification.validate import validate

__all__ = ["ImageSplit", "Recipe", "load_classifier", "open_split", "train", "validate"]
