"""Linear layers that keep what their input is made of, and make it again in the backward pass."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from mlla.ops.fast_paths import may_run_fast_path
from mlla.ops.precision import is_autocast


def gelu_linear(
    hidden: Float[Tensor, "... D"], weight: Float[Tensor, "C D"], bias: Float[Tensor, " C"] | None
) -> Float[Tensor, "... C"]:
    """Project GELU of `hidden`, keeping `hidden` alone for the backward pass.

    Args:
        hidden: Values before the activation.
        weight: Weight of the projection.
        bias: Bias of the projection.

    Returns:
        The projection, in the dtype of autocast where that is on.
    """
    if not may_run_fast_path():
        return functional.linear(functional.gelu(hidden), weight, bias)
    return _GeluLinear.apply(*_as_autocast_does(hidden, weight, bias))


def gated_linear(
    x: Float[Tensor, "... D"],
    gate: Float[Tensor, "... D"],
    weight: Float[Tensor, "C D"],
    bias: Float[Tensor, " C"] | None,
) -> Float[Tensor, "... C"]:
    """Project `x` times SiLU of `gate`, keeping these two alone for the backward pass.

    Args:
        x: What is gated.
        gate: Values before the activation.
        weight: Weight of the projection.
        bias: Bias of the projection.

    Returns:
        The projection, in the dtype of autocast where that is on.
    """
    if not may_run_fast_path():
        return functional.linear(x * functional.silu(gate), weight, bias)
    return _GatedLinear.apply(*_as_autocast_does(x, gate, weight, bias))


def _as_autocast_does(*tensors: Tensor | None) -> list[Tensor | None]:
    """Cast what a linear layer would cast; functions with a backward pass of their own do not."""
    device = next(tensor.device for tensor in tensors if tensor is not None)
    if not is_autocast(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device.type)
    return [
        tensor if tensor is None or tensor.dtype == torch.float64 else tensor.to(dtype)
        for tensor in tensors
    ]


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(functional.gelu(hidden), weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        grad_weight = _weight_gradient(ctx, 1, grad, functional.gelu(hidden))
        grad_hidden = None
        if ctx.needs_input_grad[0]:
            grad_hidden = torch.ops.aten.gelu_backward(grad @ weight, hidden)
        return grad_hidden, grad_weight, _bias_gradient(ctx, 2, grad)


class _GatedLinear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, gate: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(functional.silu(gate).mul_(x), weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gate, weight = ctx.saved_tensors
        factor = functional.silu(gate)
        grad_weight = _weight_gradient(ctx, 2, grad, factor * x)
        grad_product = grad @ weight
        # the buffers are used again: they are nobody else's
        grad_x = factor.mul_(grad_product)
        grad_gate = torch.ops.aten.silu_backward(grad_product.mul_(x), gate)
        return grad_x, grad_gate, grad_weight, _bias_gradient(ctx, 3, grad)


def _weight_gradient(ctx: Any, index: int, grad: Tensor, product_input: Tensor) -> Tensor | None:
    if not ctx.needs_input_grad[index]:
        return None
    return grad.flatten(0, -2).mT @ product_input.flatten(0, -2)


def _bias_gradient(ctx: Any, index: int, grad: Tensor) -> Tensor | None:
    return grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[index] else None
