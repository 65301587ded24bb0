"""Layers that keep their weights a second time, in the order in which fast operators read them."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Self = TypeVar("Self", bound="Packed")
# for how many tokens oneDNN chooses the order; orders for thousands serve few tokens as well
_TOKENS = 4096


class Packed(nn.Module):
    """Mixed into a layer whose second copy of the weights is made on first use.

    The copy is neither in state dicts nor in files, and goes when the weights change.
    """

    _packed: Any = None

    def pack(self) -> Any:
        """Return the second copy, which is made once."""
        if self._packed is None:
            # past nn.Module, which would make it a buffer
            self.__dict__["_packed"] = self._make_copy()
        return self.__dict__["_packed"]

    def _make_copy(self) -> Any:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Leave the second copy out of files and copies."""
        return {name: value for name, value in vars(self).items() if name != "_packed"}

    def _apply(self: Self, fn: Any, recurse: bool = True) -> Self:
        self.__dict__.pop("_packed", None)
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("_packed", None)
        super()._load_from_state_dict(*args, **kwargs)


class PackedLinear(Packed, nn.Linear):
    """A linear layer with its weights in the order in which oneDNN reads them.

    Reordering them for every call takes a fifth of the time of a batch of one.

    Args:
        layer: A linear layer, whose parameters this one shares.
    """

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def _make_copy(self) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(self.weight.detach(), _TOKENS)


class PackedDepthwise(Packed, nn.Conv2d):
    """A depthwise 3x3 convolution with its weights as the compiled loops read them.

    Args:
        conv: A depthwise convolution with stride 1, whose parameters this one shares.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(vars(conv))

    def _make_copy(self) -> tuple[Any, Any]:
        """Return weights (9, C) and bias (C,), arrays of float32."""
        weight = self.weight.detach().float()
        bias = weight.new_zeros(len(weight)) if self.bias is None else self.bias.detach().float()
        return weight.flatten(1).T.contiguous().numpy(), bias.contiguous().numpy()
