"""Classifiers by name, from a folder, or from a file that the authors published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
from torch import nn

from mlla.models import from_pretrained, load_published
from mlla.models.convert_published import identify_published
from mlla.models.published_file import read_published_file
from mlla.models.published_weights import unwrap_checkpoint
from mlla.models.weights_folder import read_config


class Classifier(NamedTuple):
    """A model, what it was built with, and the names of its classes where they are known.

    Args:
        architecture: What timm calls the model.
        network: The model.
        class_names: Names of the classes, by label, or None.
        model_args: Further arguments it was built with, where that is all of them.
    """

    architecture: str
    network: nn.Module
    class_names: list[str] | None = None
    model_args: dict[str, Any] | None = None


def architecture_of(source: str | Path, model_args: Mapping[str, Any] | None = None) -> str:
    """Return what timm calls the model of a source, as `load_classifier` takes it.

    Raises:
        FileNotFoundError: If there is no such file, folder or name.
        ValueError: If the weights are damaged, or are those of no classifier.
    """
    path = Path(source)
    if path.is_dir():
        return str(read_config(path).get("architecture"))
    if path.is_file():
        return load_classifier(path, model_args=model_args).architecture
    if not timm.is_model(str(source)):
        near = timm.list_models(f"*{str(source).partition('_')[0]}*")[:8]
        raise FileNotFoundError(
            f"model={source} is no file or folder here and no model of timm"
            + (f"; did you mean one of {', '.join(near)}?" if near else "")
        )
    return str(source)


def load_classifier(
    source: str | Path,
    *,
    num_classes: int | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> Classifier:
    """Load or build a classifier.

    Args:
        source: A folder that `save_pretrained` wrote, such as `best` of a training; a file of the
            authors, `.pth`; or a name of timm, for fresh weights.
        num_classes: How many classes are wanted; where the weights have another number, the last
            layer is fresh. By default that of the weights.
        model_args: Further arguments of the model.

    Returns:
        The classifier.

    Raises:
        FileNotFoundError: If there is no such file, folder or name.
        ValueError: If the weights are damaged, or are those of no classifier.
    """
    changes = dict(model_args or {})
    if num_classes is not None:
        changes["num_classes"] = num_classes
    path = Path(source)
    if path.is_file():
        return _load_file(path, changes)
    architecture = architecture_of(source)
    if path.is_dir():
        class_names = read_config(path).get("label_names")
        return Classifier(architecture, from_pretrained(path, **changes), class_names)
    return Classifier(architecture, _create(architecture, changes), None, changes)


def _create(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return timm.create_model(architecture, **arguments)
    except TypeError as error:
        raise ValueError(
            f"{architecture} cannot be built with {dict(arguments)}: {error}; change model_args, "
            "or set drop_path=0 for a model without drop paths"
        ) from error


def _load_file(path: Path, changes: Mapping[str, Any]) -> Classifier:
    checkpoint = read_published_file(path)
    architecture, arguments = identify_published(unwrap_checkpoint(checkpoint)[1], path)
    own_classes = arguments["num_classes"]
    if not (architecture.startswith("mlla_") and own_classes):
        raise ValueError(
            f"{path} is a {architecture} without a classifier; give a file of a classifier, or a "
            "folder that save_pretrained wrote"
        )
    arguments = {**arguments, **changes}
    network = _create(architecture, arguments)
    keep = () if arguments["num_classes"] == own_classes else ("head",)
    load_published(network, checkpoint, keep=keep)
    return Classifier(architecture, network)
