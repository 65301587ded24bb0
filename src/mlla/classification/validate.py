"""Score a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlla.classification.image_split import TransformedImages, open_split
from mlla.classification.models import load_classifier
from mlla.classification.scores import score
from mlla.classification.transforms import input_size_of, scoring_transform
from mlla.training import Launch, LoopSettings


def validate(
    model: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    split: str = "val",
    root: str | Path | None = None,
    image_size: int | None = None,
    model_args: Mapping[str, Any] | None = None,
    batch: int = 128,
    workers: int = 4,
    precision: str = "fp32",
    device: str = "auto",
) -> dict[str, float]:
    """Score a classifier on a split.

    Args:
        model: A folder that `save_pretrained` wrote, such as `best` of a training; a file of the
            authors, `.pth`; or a name of timm, for fresh weights.
        data: A folder of splits of classes of images, or a name; see `open_split`. Its classes
            are found by name where the model knows names, and else by their order.
        out: Where to write predictions.npz, see `score`; None for nowhere.
        split: The split to score on.
        root: Where a data set given by name lies.
        image_size: Height and width in pixels; by default what the model was made for.
        model_args: Further arguments of the model.
        batch: Images at once.
        workers: Processes that read images.
        precision: "fp32", "bf16" or "fp16".
        device: "auto", or "cpu" even where there is a GPU.

    Returns:
        top1, top5, val_loss and the number of images, `images`.

    Raises:
        FileNotFoundError: If the data, the split or the model does not exist.
        ValueError: If model and data do not fit each other.
    """
    settings = LoopSettings(
        epochs=1, batch=batch, workers=workers, precision=precision, device=device
    )
    launch = Launch(settings.precision, settings.device)
    images = open_split(data, split, root=root)
    classifier = load_classifier(model, model_args=model_args)
    if classifier.class_names is not None:
        images.use_labels_of(classifier.class_names)
    num_classes = getattr(classifier.network, "num_classes", None)
    if num_classes != len(images.class_names):
        raise ValueError(
            f"model={model} knows {num_classes} classes and {images.where} has "
            f"{len(images.class_names)}; without names of classes in the model these must be the "
            "same, in the same order"
        )
    network = classifier.network.to(launch.device).eval()
    input_size = input_size_of(network, image_size)
    if out is not None and launch.is_main:
        Path(out).mkdir(parents=True, exist_ok=True)
    figures = score(
        network,
        TransformedImages(images, scoring_transform(network, input_size)),
        launch,
        None if out is None else Path(out),
        batch=batch,
        workers=workers,
    )
    return {**figures, "images": len(images)}
