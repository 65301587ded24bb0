"""Weights that compute two steps at once. Everything is folded in float64 and rounded once."""

from copy import copy, deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mlla.inference.packed import PackedLinear
from mlla.layers.conv_norm import ConvNorm

Layer = TypeVar("Layer", bound=nn.Module)


def frozen(layer: Layer) -> Layer:
    """Return a layer that shares the values of another's weights, and needs no gradients."""
    result = copy(layer)
    result._parameters = {
        name: None if weight is None else nn.Parameter(weight.detach(), requires_grad=False)
        for name, weight in layer._parameters.items()
    }
    return result


@torch.no_grad()
def with_identity(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the depthwise convolution that computes x + conv(x)."""
    folded = deepcopy(frozen(conv))
    row, column = (side // 2 for side in conv.kernel_size)
    folded.weight[:, 0, row, column] += 1
    return folded


@torch.no_grad()
def after_norm(norm: nn.LayerNorm | None, layer: nn.Linear) -> PackedLinear:
    """Return the linear layer that reads what `norm` makes without its weights.

    Args:
        norm: The layer norm in front of the layer, or None.
        layer: The layer.
    """
    folded = deepcopy(frozen(layer))
    if norm is None or not norm.elementwise_affine:
        return PackedLinear(folded)
    weight = layer.weight.double()
    folded.weight.copy_(weight * norm.weight.double())
    if norm.bias is not None:
        shift = weight @ norm.bias.double()
        _set_bias(folded, shift if layer.bias is None else shift + layer.bias.double())
    return PackedLinear(folded)


@torch.no_grad()
def side_by_side(first: PackedLinear, second: PackedLinear) -> PackedLinear:
    """Return the linear layer that gives the outputs of both, one behind the other."""
    outputs = first.out_features + second.out_features
    layer = nn.Linear(first.in_features, outputs, bias=False).to(first.weight)
    layer.requires_grad_(False)
    layer.weight.copy_(torch.cat((first.weight, second.weight)))
    if first.bias is not None or second.bias is not None:
        biases = (
            part.weight.new_zeros(part.out_features) if part.bias is None else part.bias
            for part in (first, second)
        )
        _set_bias(layer, torch.cat(tuple(biases)))
    return PackedLinear(layer)


def without_weights(norm: nn.LayerNorm) -> nn.LayerNorm:
    """Return the layer norm whose weights were folded into what follows it."""
    return nn.LayerNorm(norm.normalized_shape, norm.eps, elementwise_affine=False)


@torch.no_grad()
def with_batch_norm(layer: ConvNorm) -> nn.Conv2d:
    """Return the convolution that also does the batch normalisation behind it."""
    conv, norm = layer.conv, layer.norm
    folded = deepcopy(frozen(conv))
    scale = (_double(norm.running_var) + norm.eps).rsqrt() * norm.weight.double()
    shift = -_double(norm.running_mean)
    if conv.bias is not None:
        shift = shift + conv.bias.double()
    folded.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    _set_bias(folded, shift * scale + norm.bias.double())
    return folded


@torch.no_grad()
def as_linear(conv: nn.Conv2d) -> PackedLinear:
    """Return the linear layer that a 1x1 convolution is on a grid."""
    layer = nn.Linear(conv.in_channels, conv.out_channels, bias=False).to(conv.weight)
    layer.requires_grad_(False)
    layer.weight.copy_(conv.weight.flatten(1))
    if conv.bias is not None:
        _set_bias(layer, conv.bias.clone())
    return PackedLinear(layer)


def _double(statistic: Tensor | None) -> Tensor:
    # FixedBatchNorm2d always tracks them
    assert statistic is not None
    return statistic.double()


def _set_bias(layer: Any, bias: Tensor) -> None:
    layer.bias = nn.Parameter(bias.to(layer.weight.dtype), requires_grad=False)
