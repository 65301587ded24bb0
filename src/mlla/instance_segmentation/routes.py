"""Training and validation of Mask R-CNN in one call each."""

import os
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from mlla.data import DataError
from mlla.data.layout import whole_folder
from mlla.instance_segmentation.coco_split import read_split
from mlla.instance_segmentation.saved_detector import load_detector
from mlla.instance_segmentation.task import MaskRCNNTask, Recipe, evaluate_split
from mlla.training import Launch, LoopSettings, fit

#: What the published training does, of the settings of the loop.
PUBLISHED_LOOP = {"batch": 16, "forward_batch": 2, "clip_grad_norm": None, "ema_decay": None}
RECIPE_NAMES = tuple(field.name for field in fields(Recipe))
LOOP_NAMES = tuple(field.name for field in fields(LoopSettings))


def train(data: str | Path, out: str | Path, **settings: Any) -> dict[str, float]:
    """Train Mask R-CNN on a COCO data set; the same call goes on where it stopped.

    Args:
        data: The data set: JSON files of the splits train and val, and their images.
        out: Folder of the training; the detectors are in `best` and `last`.
        settings: Of `Recipe` and of `LoopSettings`, by name. Updates are of 16 images, two a
            forward pass, as published.

    Returns:
        Figures of the best epoch.

    Raises:
        ValueError: If a setting is unknown or wrong, or the data set cannot be used.
        RuntimeError: If the loss is no longer finite.
    """
    if unknown := set(settings) - {*RECIPE_NAMES, *LOOP_NAMES}:
        raise ValueError(
            f"unknown setting {', '.join(sorted(unknown))}; there are "
            f"{', '.join(sorted({*RECIPE_NAMES, *LOOP_NAMES}))}"
        )
    own = {name: value for name, value in settings.items() if name in RECIPE_NAMES}
    recipe = Recipe(data=os.path.abspath(data), **own)
    recipe = replace(recipe, epochs=recipe.steps.epochs)
    loop = {name: value for name, value in settings.items() if name in LOOP_NAMES}
    loop_settings = LoopSettings(**{**PUBLISHED_LOOP, **loop, "epochs": recipe.steps.epochs})
    task = MaskRCNNTask(recipe, workers=loop_settings.workers)
    if os.environ.get("RANK", "0") == "0":
        print(
            f"{len(task.train.images)} images to train on ({task.train.left_out} without an object "
            f"left out), {len(task.val.images)} to score, {len(task.train.classes)} classes",
            flush=True,
        )
    return fit(task, loop_settings, out)


def validate(
    model: str | Path,
    data: str | Path,
    *,
    split: str = "val",
    out: str | Path | None = None,
    batch: int = 1,
    workers: int = 4,
    precision: str = "fp32",
    device: str = "auto",
) -> dict[str, float]:
    """Score a trained detector on a split of a COCO data set.

    Args:
        model: Folder of a training, or of a detector.
        data: The data set; its classes must have the names that the detector knows.
        split: "train", "val" or "test".
        out: New folder for detections.json, in the format of COCO results, and per_class.json.
        batch: Images of a forward pass.
        workers: Processes that read.
        precision: "fp32", "bf16" or "fp16".
        device: "auto" or "cpu".

    Returns:
        mask_AP, box_AP and their parts.

    Raises:
        ValueError: If the model, the data set or an argument cannot be used.
    """
    launch = Launch(precision, device)
    detector, description = load_detector(model)
    truth = read_split(data, split)
    known, asked = list(description.classes.values()), list(truth.classes.values())
    if known != asked:
        raise DataError(
            f"{truth.file} has the classes {asked}, but the detector finds {known}; validate on "
            "the classes it was trained for, in that order"
        )
    detector = detector.to(launch.device)
    writing = whole_folder(out) if out is not None and launch.is_main else nullcontext()
    with writing as folder, torch.no_grad(), launch.autocast():
        return evaluate_split(detector, truth, launch, folder, batch=batch, workers=workers)
