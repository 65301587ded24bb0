"""Models saved to a folder in the format of timm and the Hugging Face hub, and back."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError
from timm.models import filter_pretrained_cfg
from torch import nn

from mlla.models.model_description import VM_UNET, build_model, describe_model
from mlla.models.published_weights import load_published
from mlla.models.weights_folder import CONFIG_NAME, WEIGHTS_NAME, read_weights, write_weights

CERTIFICATE_NAME = "certificate.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    model_args: Mapping[str, Any] | None = None,
    label_names: Sequence[str] | None = None,
    pretrained_cfg: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Save a model to a folder that `from_pretrained` and timm's `local-dir:` read.

    Args:
        model: A model that `timm.create_model` made, an MLLA, or a VMUNet (which timm does not
            know); not a wrapper.
        folder: Where to. It gets config.json and model.safetensors.
        model_args: Arguments of `timm.create_model` that the model was made with, beside its name;
            needed only for models other than ours, with versions of timm that do not record them.
        label_names: Names of the classes, in their order.
        pretrained_cfg: What timm reads for its transforms: `input_size`, `mean`, `std`,
            `interpolation`, `crop_pct`; where it differs from the model's own.
        overwrite: Replace weights that are in the folder already.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder has weights and `overwrite` is False.
        OSError: If a file cannot be written; what was there is then still there.
        TypeError: If the model cannot be built again from a name.
        ValueError: If its arguments are unknown or wrong, or `label_names` has another length
            than the model has classes.
    """
    architecture, args = describe_model(model, model_args)
    num_classes = int(getattr(model, "num_classes", 0))
    if label_names is not None and len(label_names) != num_classes:
        raise ValueError(
            f"label_names has {len(label_names)} names, but the model has {num_classes} classes"
        )
    config: dict[str, Any] = {"architecture": architecture, "num_classes": num_classes}
    if hasattr(model, "num_features"):
        config["num_features"] = model.num_features
    if label_names is not None:
        config["label_names"] = list(label_names)
    config["model_args"] = args
    config["pretrained_cfg"] = _pretrained_cfg(model, num_classes, pretrained_cfg or {})
    return write_weights(folder, model.state_dict(), config, overwrite=overwrite)


def from_pretrained(
    source: str | Path,
    *,
    allow_download: bool = False,
    check_hash: bool = True,
    keep: Collection[str] = (),
    **changes: Any,
) -> nn.Module:
    """Build a model from a folder, or from a repository of the Hugging Face hub.

    Args:
        source: A folder that `save_pretrained` or timm wrote, or the id of a repository,
            "owner/name" or "owner/name@revision". A folder comes first.
        allow_download: Fetch a repository that is not in the cache of huggingface_hub.
        check_hash: Compare the weights with the digest in config.json.
        keep: Parts of an MLLA or VM-UNet that keep their fresh weights, as in `load_published`.
        changes: Arguments of `timm.create_model` other than at saving. As there, `num_classes`
            gives a fresh classifier, `in_chans` adapts the first convolution, and
            `features_only=True` makes a backbone.

    Returns:
        The model, in training mode like every new one.

    Raises:
        FileNotFoundError: If there is no such folder, or no such repository in the cache.
        OSError: If a download fails.
        ValueError: If the weights are damaged or do not fit, or the architecture is unknown.

    Example:
        >>> backbone = from_pretrained("runs/best", features_only=True)
    """
    config, tensors = read_weights(
        _folder_of(source, allow_download=allow_download), check_hash=check_hash
    )
    architecture, saved_args = str(config.get("architecture")), config.get("model_args") or {}
    args = {**saved_args, **changes}
    if architecture == VM_UNET or keep:
        if args.get("num_classes") != saved_args.get("num_classes"):
            keep = {*keep, "head"}
        model = build_model(architecture, args)
        load_published(model, tensors, keep=keep)
        return model
    cfg = {**(config.get("pretrained_cfg") or {}), "num_classes": config.get("num_classes", 0)}
    # timm adapts the first convolution and the classifier, and reads tensors in place of a file
    model = build_model(
        architecture, {**args, "pretrained": True, "pretrained_cfg": {**cfg, "state_dict": tensors}}
    )
    _forget_tensors(model)
    return model


def _folder_of(source: str | Path, *, allow_download: bool) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise FileNotFoundError(
            f"{source} is neither a folder nor the id of a repository, such as 'owner/name'"
        )
    name, _, revision = source.partition("@")
    try:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=[CONFIG_NAME, WEIGHTS_NAME, CERTIFICATE_NAME],
                local_files_only=not allow_download,
            )
        )
    except LocalEntryNotFoundError as error:
        remedy = "it cannot be reached" if allow_download else "allow_download=True fetches it"
        raise FileNotFoundError(
            f"{source} is no folder here and not in the cache of huggingface_hub; {remedy}"
        ) from error


def _pretrained_cfg(
    model: nn.Module, num_classes: int, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what timm keeps of a model beside its structure, without where weights came from."""
    own = {**(getattr(model, "pretrained_cfg", None) or {})}
    own.pop("state_dict", None)
    cfg = filter_pretrained_cfg(own, remove_source=True)
    cfg = {key: value for key, value in cfg.items() if key != "architecture"}
    size = changes.get("input_size", cfg.get("input_size", (3, 224, 224)))
    channels = getattr(model, "in_chans", size[0])
    return {**cfg, **changes, "input_size": (channels, *size[1:]), "num_classes": num_classes}


def _forget_tensors(model: nn.Module) -> None:
    """Take the tensors out of what timm keeps beside the model, where they would be pickled."""
    for module in model.modules():
        for name in ("pretrained_cfg", "default_cfg"):
            if isinstance(cfg := getattr(module, name, None), dict):
                cfg.pop("state_dict", None)
