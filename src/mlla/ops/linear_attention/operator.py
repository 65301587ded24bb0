"""Linear attention from a projection as an operator that PyTorch knows, for every device."""

import importlib
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mlla.ops.linear_attention.by_loops import (
    attend_by_loops,
    attend_by_loops_backward,
    fits_loops,
)
from mlla.ops.linear_attention.by_samples import (
    attend_by_samples,
    attend_by_samples_backward,
    empty_means,
)
from mlla.ops.precision import without_autocast

# wider heads and their products leave the shared memory of smaller GPUs
_WIDEST_TRITON_HEAD = 64


@cache
def triton_kernels() -> Any:
    """Import the kernels for GPUs, and with them Triton."""
    return importlib.import_module("mlla.ops.linear_attention.triton_kernels")


@cache
def reason_without_triton() -> str:
    """Tell why the kernels for GPUs cannot run in this process; empty if they can."""
    if not torch.cuda.is_available():
        return "there is no GPU that this PyTorch can use"
    try:
        triton_kernels()
    except ImportError as error:
        return str(error)
    return ""


def _fits_triton(value: Tensor, num_heads: int) -> bool:
    fits = value.dtype != torch.float64 and value.shape[3] // num_heads <= _WIDEST_TRITON_HEAD
    return value.is_cuda and value.numel() > 0 and fits and not reason_without_triton()


@torch.library.custom_op("mlla::linear_attention", mutates_args=(), device_types=("cpu", "cuda"))
def attend(
    query_key: Tensor, value: Tensor, num_heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Attend as `projected_linear_attention` does.

    Args:
        query_key: Queries and keys side by side before the feature map, (B, H, W, 2C).
        value: Values (B, H, W, C).
        num_heads: Number of heads.
        eps: Added to the normaliser.

    Returns:
        The output, and what the backward pass needs: the means of key times value
        (B, heads, C/heads, C/heads) and of the keys (B, heads, C/heads).
    """
    if _fits_triton(value, num_heads):
        return triton_kernels().attend(query_key, value, num_heads, eps)
    with without_autocast(value.device):
        if fits_loops(query_key, value, num_heads):
            attended = attend_by_loops(query_key, value, num_heads, eps)
            return attended.output.to(value.dtype), attended.key_value, attended.mean_key
        return attend_by_samples(query_key, value, num_heads, eps)


@attend.register_fake
def _(
    _query_key: Tensor, value: Tensor, num_heads: int, _eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), *empty_means(value, num_heads)


@torch.library.custom_op(
    "mlla::linear_attention_backward", mutates_args=(), device_types=("cpu", "cuda")
)
def attend_backward(
    grad: Tensor, query_key: Tensor, value: Tensor, key_value: Tensor, mean_key: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the projection and of the values.

    Args:
        grad: Gradient of the output.
        query_key: As in `attend`.
        value: As in `attend`.
        key_value: What `attend` kept.
        mean_key: What `attend` kept.
        eps: As in `attend`.
    """
    if _fits_triton(value, key_value.shape[1]):
        return triton_kernels().attend_backward(grad, query_key, value, key_value, mean_key, eps)
    backward = attend_by_samples_backward
    if fits_loops(query_key, value, key_value.shape[1]):
        backward = attend_by_loops_backward
    with without_autocast(value.device):
        return backward(grad, query_key, value, key_value, mean_key, eps)


@attend_backward.register_fake
def _(
    _grad: Tensor, query_key: Tensor, value: Tensor, _key_value: Tensor, _mean: Tensor, _eps: float
) -> tuple[Tensor, Tensor]:
    return query_key.new_empty(query_key.shape), value.new_empty(value.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs[:2], *output[1:])
    ctx.eps = inputs[3]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 4
    gradients = torch.ops.mlla.linear_attention_backward(grad, *ctx.saved_tensors, ctx.eps)
    return (*gradients, None, None)


attend.register_autograd(_backward, setup_context=_setup_context)


def attend_flops(
    _query_key: torch.Size, value_shape: torch.Size, num_heads: int, *_: object, **__: object
) -> int:
    """Count multiplications and additions in the products of `attend`, one each.

    Args:
        value_shape: Shape of the values.
        num_heads: Number of heads.
    """
    head = value_shape[3] // num_heads
    # key times value, query times that, and the normaliser
    return 2 * value_shape.numel() * (2 * head + 1)


def attend_backward_flops(
    _grad: torch.Size,
    _query_key: torch.Size,
    value_shape: torch.Size,
    key_value_shape: torch.Size,
    *_: object,
    **__: object,
) -> int:
    """Count multiplications and additions in the products of `attend_backward`, one each.

    Args:
        value_shape: Shape of the values.
        key_value_shape: Shape of the means of key times value.
    """
    # the gradients of two factors for each product of the forward pass
    return 2 * attend_flops(value_shape, value_shape, key_value_shape[1])


register_flop_formula(torch.ops.mlla.linear_attention)(attend_flops)
register_flop_formula(torch.ops.mlla.linear_attention_backward)(attend_backward_flops)
