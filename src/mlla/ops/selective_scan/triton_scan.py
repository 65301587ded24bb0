"""The selective scan for GPUs, in Triton: how many programs, and what they write to."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from mlla.ops.selective_scan import triton_kernels
from mlla.ops.selective_scan.tiles import CHUNK, num_tiles

# channels of a program that holds one tile, and of one that holds a dozen
_CHANNELS, _BACKWARD_CHANNELS = 32, 16
# chunks that are joined at once
_JOINED = 32


def triton_forward(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, tokens: int = CHUNK
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of `selective_scan_reference`.

    Args:
        x: Tokens (B, G, L, D), as all tensors float32 or shorter, on a GPU.
        delta: Steps (B, G, L, D).
        A: Rates (G, D, N).
        B: How tokens enter (B, G, L, N).
        C: How states are read (B, G, L, N).
        D: Weight of the token itself (G, D).
        tokens: Tokens of a chunk, a power of two.

    Returns:
        The output in the dtype of `x`, and the states before every chunk (B, G, chunks, N, D).
    """
    x, delta, A, B, C, D = (tensor.contiguous() for tensor in (x, delta, A, B, C, D))
    batch, groups, length, width = x.shape
    num_states, chunks = A.shape[2], num_tiles(length, tokens)
    sizes = (groups, length, width, num_states)
    y = x.new_empty(x.shape)
    states = A.new_zeros(batch, groups, chunks, num_states, width, dtype=torch.float32)
    if x.numel() == 0:
        return y, states
    grid = (chunks, num_tiles(width, _CHANNELS), batch * groups)
    with _on(x):
        # a single chunk begins with zeros
        if chunks > 1:
            left, steps = states.new_empty(states.shape), _row_per_chunk(states)
            triton_kernels.leave_chunks[grid](
                *(x, delta, A, B, left, steps, *sizes, tokens, _CHANNELS, False), num_warps=1
            )
            _join(left, steps, A, states, reverse=False)
        triton_kernels.read_states[grid](
            *(x, delta, A, B, C, D, states, y, *sizes, tokens, _CHANNELS), num_warps=1
        )
    return y, states


def triton_backward(
    grad: Tensor, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor,
    states: Tensor, tokens: int = CHUNK,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Return the gradients of the first six inputs of `triton_forward`, each in its dtype.

    Args:
        grad: Gradient of the output.
        x: As in `triton_forward`, and so are the next five.
        delta: See there.
        A: See there.
        B: See there.
        C: See there.
        D: See there.
        states: What `triton_forward` returned.
        tokens: Tokens of a chunk, as it was there.
    """
    inputs = tuple(tensor.contiguous() for tensor in (x, delta, A, B, C, D))
    x, delta, A, B, C, D = inputs
    grad = grad.contiguous()
    batch, groups, length, width = x.shape
    num_states, chunks = A.shape[2], states.shape[2]
    sizes = (groups, length, width, num_states)
    blocks = num_tiles(width, _BACKWARD_CHANNELS)
    grad_x, grad_delta = x.new_empty(x.shape), delta.new_empty(delta.shape)
    # sums of chunks and of blocks of channels by themselves, so that their order is always the same
    grad_A = states.new_empty(states.shape)
    grad_D = _row_per_chunk(states)
    grad_B, grad_C = states.new_empty(2, blocks, batch, groups, length, num_states)
    passed = states.new_zeros(states.shape)
    if x.numel() > 0:
        grid = (chunks, blocks, batch * groups)
        with _on(x):
            if chunks > 1:
                left, steps = states.new_empty(states.shape), _row_per_chunk(states)
                triton_kernels.leave_chunks[grid](
                    *(grad, delta, A, C, left, steps, *sizes, tokens, _BACKWARD_CHANNELS, True),
                    num_warps=1,
                )
                _join(left, steps, A, passed, reverse=True)
            triton_kernels.read_states_backward[grid](
                *(grad, *inputs, states, passed),
                *(grad_x, grad_delta, grad_A, grad_B, grad_C, grad_D),
                *(*sizes, tokens, _BACKWARD_CHANNELS),
                num_warps=1,
            )
    sums = (grad_A.sum((0, 2)).transpose(1, 2), grad_B.sum(0), grad_C.sum(0), grad_D.sum((0, 2)))
    of_A, of_B, of_C, of_D = (s.to(t.dtype) for s, t in zip(sums, inputs[2:], strict=True))
    return grad_x, grad_delta, of_A.contiguous(), of_B, of_C, of_D


def _row_per_chunk(states: Tensor) -> Tensor:
    batch, groups, chunks, _, width = states.shape
    return states.new_empty(batch, groups, chunks, width)


def _join(left: Tensor, steps: Tensor, A: Tensor, states: Tensor, *, reverse: bool) -> None:
    batch, groups, chunks, num_states, width = states.shape
    grid = (num_states, num_tiles(width, _CHANNELS), batch * groups)
    triton_kernels.join_chunks[grid](
        *(left, steps, A, states, groups, chunks, width, num_states),
        *(_JOINED, _CHANNELS, reverse),
        num_warps=1,
    )


def _on(tensor: Tensor) -> AbstractContextManager[object]:
    # programs start on the current GPU; Triton's interpreter has none
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
