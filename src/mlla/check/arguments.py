"""Sensible values for the arguments of a constructor, from their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from mlla.check.load import LoadError

# fmt: off
WIDTH_NAMES = frozenset((
    "dim", "dims", "c", "c1", "c2", "cin", "cout", "c_in", "c_out", "in_c", "out_c", "ch", "chs",
    "ch_in", "ch_out", "in_ch", "out_ch", "inch", "outch", "channel", "channels", "in_channel",
    "out_channel", "in_channels", "out_channels", "input_channels", "output_channels",
    "num_channels", "n_channels", "nc", "inc", "ouc", "inp", "oup", "in_dim", "out_dim", "dim_in",
    "dim_out", "input_dim", "output_dim", "d_model", "embed_dim", "embed_dims", "planes",
    "inplanes", "in_planes", "out_planes", "n_feat", "features", "num_features", "in_features",
    "out_features", "hidden_dim", "hidden_size", "width",
))
HEADS_NAMES = frozenset((
    "num_heads", "n_heads", "nheads", "heads", "nhead", "n_head", "num_head", "head_num",
    "heads_num",
))
RESOLUTION_NAMES = frozenset((
    "input_resolution", "resolution", "input_size", "img_size", "image_size", "feat_size",
    "fmap_size", "feature_size", "size", "hw", "shape",
))
_NEEDED = {
    "n": 1, "depth": 1, "num_blocks": 1, "n_blocks": 1, "num_layers": 1, "h": None, "w": None,
    "height": None, "mlp_ratio": 4.0, "expansion": 0.5, "e": 0.5, "expand": 2, "reduction": 4,
    "ratio": 4, "r": 4, "kernel_size": 3, "kernel": 3, "k": 3, "k_size": 3, "stride": 1, "s": 1,
    "window_size": 4, "groups": 1, "g": 1, "shortcut": True, "drop": 0.0, "dropout": 0.0,
    "drop_path": 0.0, "qkv_bias": True, "bias": True,
}
# fmt: on
_HEADS = 4


def parameters_of(target: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """Return the arguments of a constructor by name, without `self`.

    One that takes *args and **kwargs only, to pass them on, is looked through.
    """
    own: dict[str, inspect.Parameter] = {}
    for base in target.__mro__:
        if base is nn.Module:
            break
        if "__init__" not in vars(base):
            continue
        named = dict(list(inspect.signature(vars(base)["__init__"]).parameters.items())[1:])
        own = own or named
        if any(p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in named.values()):
            return named
    return own


def width_arguments(target: type[nn.Module]) -> list[str]:
    """Return the arguments that stand for the number of channels."""
    named = [
        name
        for name, parameter in parameters_of(target).items()
        if name.lower() in WIDTH_NAMES and _takes_number(parameter)
    ]
    # beside a height, a width is one of the image
    has_height = {"height", "h", "H"} & set(parameters_of(target))
    return [name for name in named if not (name == "width" and has_height)]


def guess_arguments(
    target: type[nn.Module], width: int, side: int, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Propose calls of a constructor, the most natural first.

    Args:
        target: The class.
        width: Number of channels to ask for.
        side: Side of the square map that the module will meet first.
        given: What the user has decided; never overruled.

    Returns:
        Keyword arguments, one dictionary per proposal.

    Raises:
        LoadError: If an argument is needed that no name gives away, or `given` has one that the
            constructor lacks.
    """
    parameters = parameters_of(target)
    swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in given:
        if name not in parameters and not swallows:
            raise LoadError(f"{target.__name__} has no argument {name!r}; it has {_show(target)}")
    plain = dict(given)
    widths = width_arguments(target)
    resolutions = []
    for name, parameter in parameters.items():
        if name in given or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        needed = parameter.default is parameter.empty
        if name in widths:
            plain[name] = width
        elif name.lower() in RESOLUTION_NAMES:
            resolutions.append((name, needed))
        elif needed:
            plain[name] = _needed_value(target, name, side)
    if not resolutions:
        return [plain]
    as_default = [plain] if not any(needed for _, needed in resolutions) else []
    pair = {name: (side, side) for name, _ in resolutions}
    single = {name: side for name, _ in resolutions}
    return [*as_default, {**plain, **pair}, {**plain, **single}]


def _takes_number(parameter: inspect.Parameter) -> bool:
    default = parameter.default
    is_number = isinstance(default, int) and not isinstance(default, bool)
    return default is parameter.empty or is_number


def _needed_value(target: type[nn.Module], name: str, side: int) -> Any:
    key = name.lower()
    if key in HEADS_NAMES:
        return _HEADS
    if key not in _NEEDED:
        raise LoadError(
            f"{target.__name__} needs {name!r}, whose value cannot be guessed; "
            f'add args="{name}=..." (the constructor takes {_show(target)})'
        )
    value = _NEEDED[key]
    return side if value is None else value


def _show(target: type[nn.Module]) -> str:
    return ", ".join(str(parameter) for parameter in parameters_of(target).values()) or "none"
