"""Train a classifier as published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlla.classification.image_split import TransformedImages, open_split
from mlla.classification.models import architecture_of, load_classifier
from mlla.classification.recipe import Recipe
from mlla.classification.task import ClassificationTask
from mlla.classification.transforms import input_size_of, scoring_transform, training_transform
from mlla.training import Launch, LoopSettings, fit
from mlla.training.random_numbers import Purpose, seed_generators


def train(
    model: str | Path,
    data: str | Path,
    out: str | Path,
    settings: LoopSettings,
    *,
    recipe: Recipe | None = None,
    image_size: int | None = None,
    model_args: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    train_split: str = "train",
    val_split: str = "val",
) -> dict[str, float]:
    """Train a classifier; the same call goes on where it was stopped.

    Args:
        model: A name of timm, for fresh weights; or a folder or a published file to start from,
            whose last layer is fresh if it is for another number of classes.
        data: A folder of splits of classes of images, or a name; see `open_split`.
        out: The folder of the training, see `mlla.training.fit`. The models `last` and `best` are
            read by `from_pretrained` and have predictions.npz of the images they are scored on.
        settings: How long, in which portions and how exactly.
        recipe: Optimisation and augmentation; by default the published ones.
        image_size: Height and width in pixels; by default what the model was made for.
        model_args: Further arguments of the model, such as {"dim": 32}.
        root: Where a data set given by name lies.
        train_split: The split to learn from.
        val_split: The split to score on.

    Returns:
        The figures of the best epoch: epoch, top1, top5, val_loss.

    Raises:
        FileNotFoundError: If the data, a split or the model does not exist.
        ValueError: If arguments do not fit each other, or `out` holds another training.
    """
    launch = Launch(settings.precision, settings.device)
    train_split_images = open_split(data, train_split, root=root)
    val_split_images = open_split(data, val_split, root=root)
    class_names = train_split_images.class_names
    val_split_images.use_labels_of(class_names)
    architecture = architecture_of(model, model_args)
    recipe = (recipe or Recipe()).for_training(
        architecture, batch=settings.batch, epochs=settings.epochs
    )
    build_args = dict(model_args or {})
    if recipe.drop_path:
        build_args.setdefault("drop_path_rate", recipe.drop_path)
    seed_generators(settings.seed, Purpose.WEIGHTS)
    classifier = load_classifier(model, num_classes=len(class_names), model_args=build_args)
    input_size = input_size_of(classifier.network, image_size)
    task = ClassificationTask(
        classifier._replace(class_names=class_names),
        TransformedImages(
            train_split_images, training_transform(classifier.network, input_size, recipe)
        ),
        TransformedImages(val_split_images, scoring_transform(classifier.network, input_size)),
        recipe,
        settings,
        arguments={
            "task": "classification",
            "model": str(model),
            "model_args": build_args,
            "data": str(Path(data).resolve()) if Path(data).is_dir() else str(data),
            "root": None if root is None else str(Path(root).resolve()),
            "train_split": train_split,
            "val_split": val_split,
            "train_images": len(train_split_images),
            "val_images": len(val_split_images),
            "image_size": list(input_size[1:]),
        },
        input_size=input_size,
    )
    launch.say(
        f"{architecture} for {len(class_names)} classes: {len(train_split_images)} images to learn "
        f"from, {len(val_split_images)} to score on\n"
        f"lr {recipe.lr:g} for batches of {settings.batch}, after {recipe.warmup_epochs:g} epochs "
        f"of warm-up; drop path {recipe.drop_path:g}, MESA {recipe.mesa:g}"
    )
    return fit(task, settings, out)
