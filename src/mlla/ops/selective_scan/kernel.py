"""The selective scan as operators that PyTorch knows; on the CPU Numba compiles their loops."""

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mlla.ops.selective_scan.tiles import BLOCK, CHUNK, num_tiles
from mlla.ops.simd.loading import import_failure, load_loops
from mlla.ops.simd.workers import share_tasks

_FORWARD = "mlla.ops.selective_scan.loops"
_BACKWARD = "mlla.ops.selective_scan.backward_loops"
# of one token, channel and state: exponent, exp, input, decay and sum (5); output (2)
FORWARD_FLOPS = 7
# the first five again, then the gradients of state (2), decay (2), rate (2), step (2), what enters
# the state (2), B (2) and C (2)
BACKWARD_FLOPS = 19
# tokens times channels times states that take less time than waking a thread
_SMALL = 2**19
# the gradients of B and C are summed in as many parts of the channels, whatever the threads
_MAX_PARTS = 8


def compiled_loops() -> tuple[Any, Any]:
    """Return both loops, imported on the first call."""
    return load_loops(_FORWARD).scan_forward, load_loops(_BACKWARD).scan_backward


# torch.compile would otherwise follow the import
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def reason_unavailable() -> str:
    """Tell why the loops cannot be imported; empty if they can."""
    return _import_failure()


@cache
def _import_failure() -> str:
    # the backward loop imports the forward one
    failure = import_failure(_BACKWARD)
    if failure:
        # once, and aimed at who called the scan
        warnings.warn(
            f"the selective scan runs in plain PyTorch, many times slower: {failure}",
            RuntimeWarning,
            stacklevel=4,
        )
    return failure


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


def _empty_outputs(x: Tensor, A: Tensor, keep_states: bool) -> tuple[Tensor, Tensor]:
    batch, groups, length, width = x.shape
    chunks = num_tiles(length, CHUNK) if keep_states else 0
    states = x.new_empty(batch, groups, chunks, A.shape[2], width, dtype=torch.float32)
    return x.new_empty(x.shape), states


@torch.library.custom_op("mlla::selective_scan", mutates_args=(), device_types="cpu")
def scan(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, keep_states: bool
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of `selective_scan_reference`.

    Args:
        x: Tokens (B, G, L, D), as all tensors float32, or on a GPU shorter.
        delta: Steps (B, G, L, D).
        A: Rates (G, D, N).
        B: How tokens enter (B, G, L, N).
        C: How states are read (B, G, L, N).
        D: Weight of the token itself (G, D).
        keep_states: Whether gradients will be asked for.

    Returns:
        The output, and with `keep_states` the states before every chunk of tokens, else an empty
        tensor.
    """
    y, states = _empty_outputs(x, A, keep_states)
    arrays = _arrays(x, delta, A, B, C, D, y, states)
    forward_loop, _ = compiled_loops()
    share_tasks(
        lambda team: forward_loop(team, *arrays),
        x.shape[0] * x.shape[1] * num_tiles(x.shape[3], BLOCK),
        is_small=x.numel() * A.shape[2] < _SMALL,
    )
    return y, states


@scan.register_fake
def _(
    x: Tensor, _delta: Tensor, A: Tensor, _B: Tensor, _C: Tensor, _D: Tensor, keep_states: bool
) -> tuple[Tensor, Tensor]:
    return _empty_outputs(x, A, keep_states)


@torch.library.custom_op("mlla::selective_scan_backward", mutates_args=(), device_types="cpu")
def scan_backward(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    states: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of the six inputs of `scan`.

    Args:
        grad: Gradient of the output.
        x: As in `scan`, and so are the next five.
        delta: See there.
        A: See there.
        B: See there.
        C: See there.
        D: See there.
        states: What `scan` kept.
    """
    batch, groups, length, width = x.shape
    num_states = A.shape[2]
    parts = min(num_tiles(width, BLOCK), _MAX_PARTS)
    grad_x, grad_delta = x.new_empty(x.shape), x.new_empty(x.shape)
    # summed over samples and parts afterwards, in one order
    grad_A, grad_D = x.new_empty(batch, *A.shape), x.new_empty(batch, *D.shape)
    grad_B, grad_C = x.new_empty(2, parts, batch, groups, length, num_states)
    arrays = _arrays(
        *(grad, x, delta, A, B, C, D, states),
        *(grad_x, grad_delta, grad_A, grad_B, grad_C, grad_D),
    )
    _, backward_loop = compiled_loops()
    share_tasks(
        lambda team: backward_loop(team, *arrays),
        batch * groups * parts,
        is_small=x.numel() * num_states < _SMALL,
    )
    # in this thread: torch would wake its own for the larger of these sums
    sum_A, sum_B, sum_C, sum_D = (torch.from_numpy(array.sum(0)) for array in arrays[-4:])
    return grad_x, grad_delta, sum_A, sum_B, sum_C, sum_D


@scan_backward.register_fake
def _(
    _grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    _states: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    return tuple(tensor.new_empty(tensor.shape) for tensor in (x, delta, A, B, C, D))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:6], output[1])
    ctx.keep_states = inputs[6]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 7
    if not ctx.keep_states:
        raise RuntimeError("keep_states=False dropped what gradients need; pass keep_states=True")
    return (*torch.ops.mlla.selective_scan_backward(grad, *ctx.saved_tensors), None)


scan.register_autograd(_backward, setup_context=_setup_context)


def scan_flops(x_shape: torch.Size, *shapes: torch.Size, **_: object) -> int:
    """Count multiplications, additions and exponentials of `scan`, one each.

    Args:
        x_shape: Shape of the tokens.
        shapes: Those of the other arguments.
    """
    num_states = shapes[1][2]
    # per token and channel: step by token, and the token's own weight and sum
    return x_shape.numel() * (FORWARD_FLOPS * num_states + 3)


def scan_backward_flops(
    _grad: torch.Size, x_shape: torch.Size, *shapes: torch.Size, **_: object
) -> int:
    """Count multiplications, additions and exponentials of `scan_backward`, one each.

    Args:
        x_shape: Shape of the tokens.
        shapes: Those of the arguments after it.
    """
    num_states = shapes[1][2]
    # per token and channel: step by token, gradients of token (3), step (3) and D (2)
    return x_shape.numel() * (BACKWARD_FLOPS * num_states + 9)


register_flop_formula(torch.ops.mlla.selective_scan)(scan_flops)
register_flop_formula(torch.ops.mlla.selective_scan_backward)(scan_backward_flops)
