"""Train a segmenter as published."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlla.semantic_segmentation.decoders import DECODER_ARGS
from mlla.semantic_segmentation.open_data import open_split
from mlla.semantic_segmentation.recipe import SegmentationRecipe
from mlla.semantic_segmentation.segmenter import VM_UNET, SegmenterPlan
from mlla.semantic_segmentation.task import SegmentationTask
from mlla.training import Launch, LoopSettings, fit


def train(
    data: str | Path,
    out: str | Path,
    settings: LoopSettings,
    *,
    model: str = "mlla_tiny",
    decoder: str | None = None,
    weights: str | Path | None = None,
    recipe: SegmentationRecipe | None = None,
    model_args: Mapping[str, Any] | None = None,
    decoder_args: Mapping[str, Any] | None = None,
    classes: Sequence[str] | int | None = None,
    ignore: Collection[int] = (),
    reduce_zero_label: bool = False,
    train_split: str = "train",
    val_split: str = "val",
) -> dict[str, float]:
    """Train a segmenter; the same call goes on where it was stopped.

    Args:
        data: A folder of images and masks, or a YAML file; see `open_split`.
        out: The folder of the training, see `mlla.training.fit`. The models `last` and `best` are
            read by `load_segmenter` and have scores.json.
        settings: How long, in which portions and how exactly.
        model: A backbone by its name in timm, or "vm_unet".
        decoder: Its decoder, a name in `DECODER_ARGS`; by default "upernet".
        weights: A published file, or a folder, with weights of the backbone.
        recipe: Optimisation and augmentation; by default the published ones.
        model_args: Further arguments of the backbone.
        decoder_args: Further arguments of the decoder.
        classes: As in `open_split`, like the next two.
        ignore: Numbers in masks that do not count.
        reduce_zero_label: The number 0 does not count, and 1 is the first class.
        train_split: The split to learn from.
        val_split: The split to score on.

    Returns:
        The figures of the best epoch: epoch, mIoU, mAcc, aAcc.

    Raises:
        FileNotFoundError: If the weights do not exist.
        ValueError: If arguments do not fit each other, data is wrong, or `out` holds another
            training.
    """
    recipe = recipe or SegmentationRecipe()
    if recipe.dice_weight is None:
        recipe = replace(recipe, dice_weight=1.0 if model == VM_UNET else 0.0)
    launch = Launch(settings.precision, settings.device)
    learned, scored = (
        open_split(data, name, classes=classes, ignore=ignore, reduce_zero_label=reduce_zero_label)
        for name in (train_split, val_split)
    )
    labels = learned.labels
    if model != VM_UNET:
        decoder = decoder or "upernet"
    plan = SegmenterPlan(
        model=model,
        decoder=decoder,
        num_classes=len(labels.names),
        model_args=dict(model_args or {}),
        # with the defaults, which other versions may change
        decoder_args={**DECODER_ARGS.get(decoder or "", {}), **(decoder_args or {})},
        auxiliary=recipe.auxiliary_weight > 0 and model != VM_UNET,
    )
    task = SegmentationTask(
        plan,
        weights,
        learned,
        scored,
        recipe,
        settings,
        arguments={
            "task": "semantic segmentation",
            "data": str(Path(data).resolve()),
            "train_split": train_split,
            "val_split": val_split,
            "train_images": len(learned),
            "val_images": len(scored),
            "class_numbers": list(labels.numbers),
            "class_names": list(labels.names),
            "ignored": sorted(labels.ignored),
        },
    )
    unlabelled = learned.num_unlabelled + scored.num_unlabelled
    launch.say(
        f"{model}{f' with {decoder}' if decoder else ''} for {len(labels.names)} classes: "
        f"{len(learned)} images to learn from, {len(scored)} to score on"
        + (f"; {unlabelled} without a mask are left out" if unlabelled else "")
    )
    return fit(task, settings, out)
