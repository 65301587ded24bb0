"""Which inference form stands for which module, and how they take its place."""

from collections import Counter
from collections.abc import Callable
from copy import copy
from typing import Any

from torch import nn
from torchvision.ops import StochasticDepth

from mlla.blocks.mlla_block import MLLABlock
from mlla.inference.block import FastMLLABlock
from mlla.inference.convolutions import FastConvNorm, FastDownsample, FastStem
from mlla.inference.form import InferenceForm
from mlla.inference.gated_attention import FastGatedAttention
from mlla.layers.conv_norm import ConvNorm, FixedBatchNorm2d
from mlla.layers.downsample import Downsample
from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.layers.linear_attention import LinearAttention
from mlla.layers.mlp import MLP
from mlla.layers.stem import Stem

FORMS: dict[type[nn.Module], Callable[[Any], InferenceForm]] = {
    MLLABlock: FastMLLABlock,
    GatedLinearAttention: FastGatedAttention,
    Stem: FastStem,
    Downsample: FastDownsample,
    ConvNorm: FastConvNorm,
}
# what these consist of; another layer in its place computes something that forms do not know
_PLAIN = {nn.Linear, nn.Conv2d, nn.LayerNorm, nn.BatchNorm2d, FixedBatchNorm2d, nn.ModuleList}
_PLAIN |= {LinearAttention, MLP, StochasticDepth, *FORMS}


def with_forms(
    module: nn.Module, replaced: "Counter[str]", left: "Counter[str]", *, in_place: bool
) -> nn.Module:
    """Return a module in which inference forms stand for what they know.

    Args:
        module: Any module.
        replaced: Counts what was replaced, by class.
        left: Counts what was not, since a hook or a layer of another kind is in it.
        in_place: Whether `module` itself may change. Otherwise modules on the way to a form are
            copied, and all others are shared.
    """
    kind = type(module)
    if kind in FORMS:
        if _is_plain(module):
            replaced[kind.__name__] += 1
            return FORMS[kind](module).eval()
        left[kind.__name__] += 1
    children = {
        name: None if child is None else with_forms(child, replaced, left, in_place=in_place)
        for name, child in module._modules.items()
    }
    if all(child is module._modules[name] for name, child in children.items()):
        return module
    result = module if in_place else copy(module)
    result._modules = children
    return result


def _is_plain(module: nn.Module) -> bool:
    return all(
        type(part) in _PLAIN and not part._forward_hooks and not part._forward_pre_hooks
        for part in module.modules()
    )
