"""Segmenters in folders: config.json, with what it takes to build them, and model.safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlla.models.weights_folder import read_weights, write_weights
from mlla.semantic_segmentation.label_map import LabelMap
from mlla.semantic_segmentation.segmenter import Segmenter, SegmenterPlan

ARCHITECTURE = "mlla.semantic_segmentation"


@dataclass(frozen=True)
class SavedSegmenter:
    """What a folder holds.

    Args:
        model: The segmenter, in evaluation mode.
        labels: Names of its classes, and their numbers in masks.
        size_px: Shorter side of the images it was scored at.
    """

    model: Segmenter
    labels: LabelMap
    size_px: int


def save_segmenter(model: Segmenter, folder: str | Path, labels: LabelMap, *, size_px: int) -> Path:
    """Write a segmenter to a folder.

    Args:
        model: The segmenter.
        folder: Where to; it must not have weights yet.
        labels: What its classes mean.
        size_px: Shorter side of the images it is meant for.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder has weights.
        OSError: If a file cannot be written.
    """
    config = {
        "architecture": ARCHITECTURE,
        "segmenter": model.plan.as_dict(),
        "labels": {
            "numbers": list(labels.numbers),
            "names": list(labels.names),
            "ignored": sorted(labels.ignored),
        },
        "size_px": size_px,
    }
    return write_weights(folder, model.state_dict(), config)


def load_segmenter(folder: str | Path) -> SavedSegmenter:
    """Read a segmenter from a folder.

    Args:
        folder: Where `save_segmenter` wrote it, such as `best` of a training.

    Raises:
        FileNotFoundError: If the folder or a file does not exist.
        ValueError: If the folder holds something else, or its weights are damaged.
    """
    config, tensors = read_weights(folder)
    if config.get("architecture") != ARCHITECTURE:
        raise ValueError(
            f"{folder} holds {config.get('architecture')!r}, not a segmenter; give the folder "
            "`best` or `last` of a training of mlla semantic"
        )
    model = Segmenter(SegmenterPlan(**config["segmenter"]))
    model.load_state_dict(tensors)
    labels = config["labels"]
    names = dict(zip(labels["numbers"], labels["names"], strict=True))
    return SavedSegmenter(model.eval(), LabelMap(names, labels["ignored"]), config["size_px"])
