"""Layers and the activation behind them as one pass over memory."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.inference.fast_path import takes_fast_path
from mlla.inference.packed import PackedLinear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": functional.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}
# how oneDNN calls them, and which of its formulas
_FUSED = {
    "none": ("none", ""),
    "relu": ("relu", ""),
    "gelu": ("gelu", "none"),
    "silu": ("swish", ""),
}


def project(
    layer: PackedLinear,
    x: Float[Tensor, "... C"],
    activation: str = "none",
    outputs: slice | None = None,
) -> Float[Tensor, "... D"]:
    """Apply a linear layer and an activation.

    Args:
        layer: The layer.
        x: What it reads.
        activation: One of `ACTIVATIONS`.
        outputs: Which outputs; all by default, whose weights alone are packed.
    """
    weight: Tensor = layer.weight
    bias: Tensor | None = layer.bias
    if outputs is not None:
        weight, bias = weight[outputs], None if bias is None else bias[outputs]
    if not takes_fast_path(x):
        return ACTIVATIONS[activation](functional.linear(x, weight, bias))
    name, formula = _FUSED[activation]
    packed = layer.pack() if outputs is None else weight
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, name, [], formula)


def convolve(
    conv: nn.Conv2d, grid: Float[Tensor, "B H W C"], activation: str = "none"
) -> Float[Tensor, "B h w D"]:
    """Apply a convolution and an activation to a grid.

    Args:
        conv: The convolution, zero-padded.
        grid: What it reads.
        activation: One of `ACTIVATIONS`.
    """
    maps = grid.permute(0, 3, 1, 2)
    if not takes_fast_path(grid):
        return ACTIVATIONS[activation](conv(maps)).permute(0, 2, 3, 1)
    name, formula = _FUSED[activation]
    geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
    result = torch.ops.mkldnn._convolution_pointwise(
        maps, conv.weight, conv.bias, *geometry, name, [], formula
    )
    # with a side of 1 the order of a map in memory is a matter of taste
    return result.permute(0, 2, 3, 1).contiguous()
