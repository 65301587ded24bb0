"""The selective scan in plain PyTorch, many tokens at a time: for devices without a kernel."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from mlla.ops.precision import without_autocast
from mlla.ops.selective_scan.arguments import check_arguments

# elements of the states of a chunk: bounds the memory, and on a CPU stays in its cache
_CHUNK_ELEMENTS = 2**18
# tokens of a chunk at least: one state of every chunk is kept
_SHORTEST_CHUNK = 32


def selective_scan_chunked(
    x: Float[Tensor, "B G L D"],
    delta: Float[Tensor, "B G L D"],
    A: Float[Tensor, "G D N"],
    B: Float[Tensor, "B G L N"],
    C: Float[Tensor, "B G L N"],
    D: Float[Tensor, "G D"],
) -> Float[Tensor, "B G L D"]:
    """Compute `selective_scan_reference` chunk by chunk, with its own backward pass.

    Decays are only ever multiplied, never divided by, so that nothing overflows however strong they
    are. The states of one chunk exist at a time; the backward pass computes them again.

    Args:
        x: Tokens of G independent sequences.
        delta: Positive step of every token and channel (after softplus).
        A: Negative rate of decay of every channel and state.
        B: How a token enters each state.
        C: How each state is read out.
        D: Weight of the token itself.

    Returns:
        The output of every token, in the dtype of `x`.

    Raises:
        ValueError: If the shapes do not fit or there is no token.
    """
    check_arguments(x, delta, A, B, C, D)
    precision = torch.promote_types(x.dtype, torch.float32)
    with without_autocast(x.device):
        inputs = [tensor.to(precision) for tensor in (x, delta, A, B, C)]
        y = _ChunkedScan.apply(*inputs)
        return (y + D.to(precision)[:, None] * inputs[0]).to(x.dtype)


def states_one_by_one(decays: Tensor, entering: Tensor) -> Tensor:
    """Turn `entering` into h_i = decays_i h_(i-1) + entering_i for all i of dimension 2.

    One operation per token, on what a CPU has in its cache from the token before.
    """
    states = entering.unbind(2)
    for before, decay, state in zip(states[:-1], decays.unbind(2)[1:], states[1:], strict=True):
        state.addcmul_(decay, before)
    return entering


def states_in_pairs(decays: Tensor, entering: Tensor) -> Tensor:
    """Return what `states_one_by_one` does in a logarithm of the tokens, for many processors.

    Neighbours are joined to pairs, the pairs scanned, and the states between them filled in.
    """
    length = entering.shape[2]
    if length == 1:
        return entering
    even = length - length % 2
    first_decays, second_decays = decays[:, :, 0:even:2], decays[:, :, 1:even:2]
    joined = torch.addcmul(entering[:, :, 1:even:2], second_decays, entering[:, :, 0:even:2])
    states = torch.empty_like(entering)
    states[:, :, 1:even:2] = states_in_pairs(first_decays * second_decays, joined)
    states[:, :, 0] = entering[:, :, 0]
    states[:, :, 2::2] = torch.addcmul(
        entering[:, :, 2::2], decays[:, :, 2::2], states[:, :, 1 : length - 1 : 2]
    )
    return states


def _all_states(decays: Tensor, entering: Tensor) -> Tensor:
    form = states_one_by_one if entering.device.type == "cpu" else states_in_pairs
    return form(decays, entering)


class _ChunkedScan(torch.autograd.Function):
    """The scan without the weight of the token itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        length = max(_SHORTEST_CHUNK, _CHUNK_ELEMENTS // max(1, x.shape[0] * A.numel()))
        state = x.new_zeros(*x.shape[:2], *A.shape[1:])
        y = torch.empty_like(x)
        kept = []
        for begin in range(0, x.shape[2], length):
            chunk = slice(begin, begin + length)
            kept.append(state)
            _, states = _run(x, delta, A, B, state, chunk)
            state = states[:, :, -1].clone()
            y[:, :, chunk] = (states @ C[:, :, chunk, :, None])[..., 0]
        ctx.length = length
        ctx.save_for_backward(x, delta, A, B, C, torch.stack(kept))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        *inputs, kept = ctx.saved_tensors
        grads = [torch.zeros_like(tensor) for tensor in inputs]
        with without_autocast(grad.device):
            # what the last state of a chunk gets from the chunks behind it
            passed = torch.zeros_like(kept[0])
            for index in range(len(kept) - 1, -1, -1):
                chunk = slice(index * ctx.length, (index + 1) * ctx.length)
                passed = _add_gradients(grads, inputs, grad, kept[index], passed, chunk)
        return tuple(grads)


def _run(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, state: Tensor, chunk: slice
) -> tuple[Tensor, Tensor]:
    """Return decays and states (B, G, chunk, D, N) from the state before the chunk."""
    steps = delta[:, :, chunk]
    decays = torch.exp(steps[..., None] * A[:, None])
    entering = (steps * x[:, :, chunk])[..., None] * B[:, :, chunk, None]
    entering[:, :, 0].addcmul_(decays[:, :, 0], state)
    return decays, _all_states(decays, entering)


def _add_gradients(
    grads: list[Tensor],
    inputs: list[Tensor],
    grad: Tensor,
    state: Tensor,
    passed: Tensor,
    chunk: slice,
) -> Tensor:
    """Add the gradients that come from a chunk; return that of the state before it."""
    x, delta, A, B, C = inputs
    grad_x, grad_delta, grad_A, grad_B, grad_C = grads
    decays, states = _run(x, delta, A, B, state, chunk)
    tokens, steps, above = x[:, :, chunk], delta[:, :, chunk], grad[:, :, chunk]

    # the same recurrence from the end, a state passing its gradient on through the next decay
    entering = above[..., None] * C[:, :, chunk, None]
    entering[:, :, -1] += passed
    grad_states = _all_states(decays.flip(2).roll(1, 2), entering.flip(2)).flip(2)
    grad_enter = (grad_states @ B[:, :, chunk, :, None])[..., 0]
    grad_C[:, :, chunk] = (above[..., None, :] @ states)[..., 0, :]
    grad_B[:, :, chunk] = ((steps * tokens)[..., None, :] @ grad_states)[..., 0, :]

    passing = grad_states * decays
    before = torch.cat([state[:, :, None], states[:, :, :-1]], dim=2)
    grad_exponents = passing * before
    grad_A += (grad_exponents * steps[..., None]).sum((0, 2))
    grad_delta[:, :, chunk] = (grad_exponents * A[:, None]).sum(-1) + grad_enter * tokens
    grad_x[:, :, chunk] = grad_enter * steps
    return passing[:, :, 0]
