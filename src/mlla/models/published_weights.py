"""Loading the weights that the authors of MLLA and VM-UNet published."""

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from timm.models import clean_state_dict
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from mlla.models.mlla import MLLA
from mlla.models.mlla_names import rename_published_state
from mlla.models.vm_unet import VMUNet
from mlla.models.vm_unet_names import rename_vm_unet_state

# what files wrap their tensors in, and what whole detectors and VM-UNet put before the names;
# where there is a moving average of MLLA's weights, the authors score that
_WRAPPERS = ("state_dict_ema", "model", "state_dict", "model_state_dict")
_PREFIXES = ("backbone.", "vmunet.")


class PublishedTensors(NamedTuple):
    """The tensors of a network in a file.

    Args:
        place: Where in the file they are, such as "model" or "state_dict/backbone"; "" if the file
            holds nothing else.
        tensors: By the names that the file gives them, without a common prefix.
    """

    place: str
    tensors: dict[str, Tensor]


def unwrap_checkpoint(checkpoint: Mapping[str, Any]) -> PublishedTensors:
    """Find the tensors of the network, the moving average before the last weights.

    Args:
        checkpoint: What `read_published_file` or `torch.load` returned.
    """
    place = []
    for wrapper in _WRAPPERS:
        if isinstance(checkpoint.get(wrapper), Mapping):
            checkpoint = checkpoint[wrapper]
            place.append(wrapper)
    state_dict: dict[str, Tensor] = clean_state_dict(dict(checkpoint))
    for prefix in _PREFIXES:
        inner = {n.removeprefix(prefix): t for n, t in state_dict.items() if n.startswith(prefix)}
        if inner:
            return PublishedTensors("/".join([*place, prefix.rstrip(".")]), inner)
    return PublishedTensors("/".join(place), state_dict)


def load_published(
    model: nn.Module, checkpoint: Mapping[str, Any], *, keep: Collection[str] = ()
) -> None:
    """Load a file of the authors into an MLLA or a VM-UNet, completely or not at all.

    Accepted are MLLA's classifier files and detection backbones, plain or under `state_dict_ema`
    (which goes first), `model` or `state_dict`, whole detectors, of which only the entries under
    `backbone.` are read, and VM-UNet's best weights and resumable checkpoints. Parts that an MLLA
    was built without (the head for `num_classes=0`, head, norm and late stages for
    `features_only=True`) may be in the file.

    Args:
        model: An MLLA, what `timm.create_model(..., features_only=True)` makes of it, or a VMUNet.
        checkpoint: What `read_published_file`, or `torch.load`, returned.
        keep: Parts of the model that keep the weights they have, whatever the file holds:
            `("head",)` to train another number of classes, `("stage_norms",)` to start a
            detection backbone from a classifier.

    Raises:
        TypeError: If the model is neither.
        ValueError: If `keep` names no part of the model, or if anything is missing, unexpected
            or of another shape. The message lists every name, and the model is unchanged.

    Example:
        >>> model = timm.create_model("mlla_tiny", num_classes=10)
        >>> load_published(model, torch.load("MLLA-T.pth", map_location="cpu"), keep=("head",))
    """
    network = model.model if isinstance(model, FeatureGetterNet) else model
    if not isinstance(network, MLLA | VMUNet):
        raise TypeError(
            f"model is a {type(network).__name__}; the authors' files fit an MLLA, its "
            "features_only wrapper or a VMUNet"
        )
    target = network.state_dict()
    for part in keep:
        if not any(_is_in(name, (part,)) for name in target):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in target))
            raise ValueError(
                f"keep={tuple(keep)!r}: the model has no weights in {part!r}; it has {parts}"
            )
    rename = rename_published_state if isinstance(network, MLLA) else rename_vm_unet_state
    published = rename(unwrap_checkpoint(checkpoint).tensors)
    check_names_and_shapes(network, published, keep=keep)
    network.load_state_dict(
        {name: published[name] for name in target if name in published and not _is_in(name, keep)},
        strict=False,
    )


def check_names_and_shapes(
    model: nn.Module, published: Mapping[str, Tensor], *, keep: Collection[str]
) -> None:
    """Raise unless every weight of the model has its tensor, and every tensor its weight.

    Args:
        model: The model.
        published: Tensors under our names.
        keep: Parts of the model left out of the comparison.

    Raises:
        ValueError: Listing all names that are missing, unexpected or of another shape.
    """
    # files written by old versions of PyTorch lack the counters, which nothing reads
    target = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not _is_in(name, keep) and not name.endswith("num_batches_tracked")
    }
    faults = [f"missing: {name}" for name in target if name not in published]
    for name, tensor in published.items():
        if name in target and tensor.shape != target[name].shape:
            faults.append(
                f"wrong shape: {name} is {tuple(tensor.shape)} in the file and "
                f"{tuple(target[name].shape)} in the model"
            )
        known = name in target or name.endswith("num_batches_tracked") or _is_in(name, keep)
        if not known and not _is_left_out(name, model):
            faults.append(f"unexpected: {name}")
    if faults:
        listing = "\n  ".join(faults)
        raise ValueError(
            f"the file does not fit the model, nothing was loaded:\n  {listing}\n"
            "Build the model the file was made for, or name the parts that shall keep their own "
            "weights, such as load_published(model, checkpoint, keep=('head',))"
        )


def _is_left_out(name: str, model: nn.Module) -> bool:
    """Tell whether a weight that an MLLA lacks belongs to a part it was built without."""
    if not isinstance(model, MLLA):
        return False
    if stage := re.match(r"stages\.(\d+)\.", name):
        return int(stage[1]) >= len(model.stages)
    if name.startswith("stage_norms."):
        return model.stage_norm
    return (name.startswith("head.") and model.num_classes == 0) or (
        name.startswith("norm.") and isinstance(model.norm, nn.Identity)
    )


def _is_in(name: str, parts: Collection[str]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)
