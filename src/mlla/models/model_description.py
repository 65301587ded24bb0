"""What it takes to build a model again: a name and the arguments of its constructor."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import timm
import torch
from timm.models._features import FeatureDictNet, FeatureGetterNet, FeatureHookNet
from torch import Tensor, nn

from mlla.blocks.mlla_block import MLLABlock
from mlla.blocks.vm_unet_vss_block import VMUNetVSSBlock
from mlla.models.mlla import MLLA
from mlla.models.vm_unet import PATCH_SIZE, VMUNet

VM_UNET = "vm_unet"
_Block = TypeVar("_Block", bound=nn.Module)


def describe_model(
    model: nn.Module, model_args: Mapping[str, Any] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments that build a model of the same structure.

    Those of an MLLA and a VM-UNet are read from the model itself, those of other models of timm
    are what timm recorded when it created them. Rates of dropout and stochastic depth are left
    out: they belong to a training.

    Args:
        model: A model that `timm.create_model` made, an MLLA or a VMUNet.
        model_args: The arguments, where they are not known.

    Returns:
        A name that `build_model` knows, and arguments that JSON can hold.

    Raises:
        TypeError: If the model is of another kind.
        ValueError: If its arguments are unknown, or do not lead to its weights.
    """
    if isinstance(model, FeatureDictNet | FeatureGetterNet | FeatureHookNet):
        raise TypeError(
            f"model is a {type(model).__name__}, which features_only=True makes, and its names are "
            "not those of the network; save that, before wrapping"
        )
    name: str | None
    known: dict[str, Any] | None
    if isinstance(model, VMUNet):
        name, known = VM_UNET, _vm_unet_args(model)
    elif isinstance(model, MLLA):
        name, known = _timm_name(model) or "mlla_tiny", _mlla_args(model)
    else:
        name, known = _timm_name(model), getattr(model, "_model_args", None)
        if name is None:
            raise TypeError(
                f"model is a {type(model).__name__}, neither an MLLA, a VMUNet nor made by "
                "timm.create_model; give the model itself, not a wrapper of it"
            )
        if known is None and model_args is None:
            raise ValueError(
                f"model_args: this version of timm does not record what {name} was created with; "
                "give the arguments, {} for none"
            )
    args = {**(known or {}), **(model_args or {})}
    args = {key: value for key, value in args.items() if not key.endswith(_RATES)}
    try:
        args = json.loads(json.dumps(args))
    except TypeError as error:
        raise ValueError(
            f"model_args={args!r} of {name} must be plain values to be saved: {error}; give "
            "model_args with plain ones"
        ) from error
    _check(model, name, args)
    return name, args


def build_model(name: str, args: Mapping[str, Any]) -> nn.Module:
    """Build a model from its description, with fresh weights.

    Raises:
        ValueError: If neither timm nor this package knows the name.
    """
    if name == VM_UNET:
        return VMUNet(**args)
    if not is_known(name):
        raise ValueError(
            f"architecture={name!r} is no backbone or classifier of mlla or timm; segmenters and "
            "detectors are loaded by the package that wrote them"
        )
    return timm.create_model(name, **args)


def is_known(name: str) -> bool:
    """Tell whether `build_model` knows a name."""
    return name == VM_UNET or timm.is_model(name)


_RATES = ("drop_rate", "drop_path_rate", "dropout_rate")


def _timm_name(model: nn.Module) -> str | None:
    return (getattr(model, "pretrained_cfg", None) or {}).get("architecture")


def _mlla_args(model: MLLA) -> dict[str, Any]:
    stages = [_blocks(stage, MLLABlock) for stage in model.stages]
    width = model.feature_info[0]["num_chs"]
    return {
        "dim": width,
        "depths": [len(blocks) for blocks in stages],
        "num_heads": [blocks[0].gated_attention.attention.num_heads for blocks in stages],
        "in_chans": model.in_chans,
        "num_classes": model.num_classes,
        "global_pool": model.head.global_pool.pool_type,
        "mlp_ratio": stages[0][0].mlp.expand.out_features / width,
        "stage_norm": model.stage_norm,
    }


def _vm_unet_args(model: VMUNet) -> dict[str, Any]:
    return {
        "in_chans": model.in_chans,
        "num_classes": model.num_classes,
        "dim": model.head.in_channels * PATCH_SIZE,
        "depths": [len(_blocks(stage, VMUNetVSSBlock)) for stage in model.encoder],
        "depths_decoder": [len(_blocks(stage, VMUNetVSSBlock)) for stage in model.decoder],
    }


def _blocks(stage: nn.Module, kind: type[_Block]) -> list[_Block]:
    return [module for module in stage.modules() if isinstance(module, kind)]


def _check(model: nn.Module, name: str, args: Mapping[str, Any]) -> None:
    """Raise unless what the description builds has the weights of the model."""
    own, rebuilt = _shapes(model.state_dict()), _shapes(_without_memory(name, args).state_dict())
    if own != rebuilt:
        differing = [key for key in own | rebuilt if own.get(key) != rebuilt.get(key)]
        raise ValueError(
            f"{name} with model_args={dict(args)!r} has other weights than this model: "
            f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}; give the "
            "model_args it was created with. A model changed after that cannot be saved so"
        )


def _without_memory(name: str, args: Mapping[str, Any]) -> nn.Module:
    try:
        with torch.device("meta"):
            return build_model(name, args)
    except (NotImplementedError, RuntimeError):
        # some models read numbers from tensors as they are built; the caller's random numbers
        # must come out as if nothing had been built
        with torch.random.fork_rng(devices=[]):
            return build_model(name, args)


def _shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state_dict.items()}
