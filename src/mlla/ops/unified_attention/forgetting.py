"""Causal, with a forget gate: the state is kept, chunk by chunk, as an operator PyTorch knows."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mlla.ops.selective_scan.chunked import states_in_pairs, states_one_by_one

# of one token, channel and state: exponent, exp, what enters, decay and sum (5); output (2)
FORWARD_FLOPS = 7
# the first five again, then the gradients of query (2), state (2), key (2), value (2), decay (2),
# rate (2) and step (2)
BACKWARD_FLOPS = 19
# elements of the states of a chunk: bounds the memory, and on a CPU stays in its cache
_CHUNK_ELEMENTS = 2**18
# tokens of a chunk at least: one state of every chunk is kept
_SHORTEST_CHUNK = 32


def attend_and_forget(
    query: Tensor, key: Tensor, value: Tensor, steps: Tensor, rates: Tensor
) -> Tensor:
    """Return Q_i S_i with S_i = exp(steps_i rates) S_(i-1) + K_i^T V_i, for every token i.

    The states of one chunk of tokens exist at a time; the backward pass computes them again.
    Decays are only ever multiplied, never divided by, however strong they are.

    Args:
        query: Queries (B, heads, L, K).
        key: Keys (B, heads, L, K).
        value: Values (B, heads, L, V).
        steps: Positive steps (B, heads, L, V).
        rates: Negative rates (heads, V, K).

    Returns:
        The readings (B, heads, L, V), not normalised.
    """
    return _forgetting(query, key, value, steps, rates)[0]


def _chunk_length(value: Tensor, rates: Tensor) -> int:
    return max(_SHORTEST_CHUNK, _CHUNK_ELEMENTS // max(1, value.shape[0] * rates.numel()))


def _num_chunks(value: Tensor, rates: Tensor) -> int:
    length = _chunk_length(value, rates)
    return (value.shape[2] + length - 1) // length


@torch.library.custom_op("mlla::forgetting_attention", mutates_args=())
def _forgetting(
    query: Tensor, key: Tensor, value: Tensor, steps: Tensor, rates: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the readings, and the states before every chunk."""
    length = _chunk_length(value, rates)
    state = value.new_zeros(*value.shape[:2], *rates.shape[1:])
    output = torch.empty_like(value, memory_format=torch.contiguous_format)
    kept = value.new_empty(_num_chunks(value, rates), *state.shape)
    for index in range(kept.shape[0]):
        chunk = slice(index * length, (index + 1) * length)
        kept[index] = state
        _, states = _run(key, value, steps, rates, state, chunk)
        state = states[:, :, -1].clone()
        output[:, :, chunk] = (states @ query[:, :, chunk, :, None])[..., 0]
    return output, kept


@_forgetting.register_fake
def _(
    _query: Tensor, _key: Tensor, value: Tensor, _steps: Tensor, rates: Tensor
) -> tuple[Tensor, Tensor]:
    output = torch.empty_like(value, memory_format=torch.contiguous_format)
    return output, value.new_empty(_num_chunks(value, rates), *value.shape[:2], *rates.shape[1:])


@torch.library.custom_op("mlla::forgetting_attention_backward", mutates_args=())
def _forgetting_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    steps: Tensor,
    rates: Tensor,
    kept: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the five inputs of `_forgetting`."""
    length = _chunk_length(value, rates)
    inputs = (query, key, value, steps, rates)
    grads = (_zeros(query), _zeros(key), _zeros(value), _zeros(steps), _zeros(rates))
    # what the last state of a chunk gets from the chunks behind it
    passed = torch.zeros_like(kept[0])
    for index in range(kept.shape[0] - 1, -1, -1):
        chunk = slice(index * length, (index + 1) * length)
        passed = _add_gradients(grads, inputs, grad, kept[index], passed, chunk)
    return grads


@_forgetting_backward.register_fake
def _(_grad: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(
        torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors[:5]
    )


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return (None,) * 5
    return torch.ops.mlla.forgetting_attention_backward(grad, *ctx.saved_tensors)


_forgetting.register_autograd(_backward, setup_context=_setup_context)


def _zeros(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor, memory_format=torch.contiguous_format)


def _all_states(decays: Tensor, entering: Tensor) -> Tensor:
    form = states_one_by_one if entering.device.type == "cpu" else states_in_pairs
    return form(decays, entering)


def _run(
    key: Tensor, value: Tensor, steps: Tensor, rates: Tensor, state: Tensor, chunk: slice
) -> tuple[Tensor, Tensor]:
    """Return decays and states (B, heads, chunk, V, K) from the state before the chunk."""
    decays = torch.exp(steps[:, :, chunk, :, None] * rates[:, None])
    entering = value[:, :, chunk, :, None] * key[:, :, chunk, None]
    entering[:, :, 0].addcmul_(decays[:, :, 0], state)
    return decays, _all_states(decays, entering)


def _add_gradients(
    grads: tuple[Tensor, ...],
    inputs: tuple[Tensor, ...],
    grad: Tensor,
    state: Tensor,
    passed: Tensor,
    chunk: slice,
) -> Tensor:
    """Add the gradients that come from a chunk; return that of the state before it."""
    query, key, value, steps, rates = inputs
    grad_query, grad_key, grad_value, grad_steps, grad_rates = grads
    decays, states = _run(key, value, steps, rates, state, chunk)
    above = grad[:, :, chunk]

    # the same recurrence from the end, a state passing its gradient on through the next decay
    entering = above[..., None] * query[:, :, chunk, None]
    entering[:, :, -1] += passed
    grad_states = _all_states(decays.flip(2).roll(1, 2), entering.flip(2)).flip(2)
    grad_query[:, :, chunk] = (above[..., None, :] @ states)[..., 0, :]
    grad_key[:, :, chunk] = (value[:, :, chunk, None] @ grad_states)[..., 0, :]
    grad_value[:, :, chunk] = (grad_states @ key[:, :, chunk, :, None])[..., 0]

    passing = grad_states * decays
    before = torch.cat([state[:, :, None], states[:, :, :-1]], dim=2)
    grad_exponents = passing * before
    grad_rates += (grad_exponents * steps[:, :, chunk, :, None]).sum((0, 2))
    grad_steps[:, :, chunk] = (grad_exponents * rates[:, None]).sum(-1)
    return passing[:, :, 0]


def forgetting_flops(
    _query: torch.Size, _key: torch.Size, value: torch.Size, *shapes: torch.Size, **_: object
) -> int:
    """Count multiplications, additions and exponentials, one each.

    Args:
        value: Shape of the values.
        shapes: Those of steps and rates.
    """
    return FORWARD_FLOPS * value.numel() * shapes[1][2]


def forgetting_backward_flops(
    _grad: torch.Size, query: torch.Size, key: torch.Size, value: torch.Size, *shapes: torch.Size,
    **_: object,
) -> int:  # fmt: skip
    """Count those of the backward pass likewise.

    Args:
        query: Shape of the queries.
        key: Shape of the keys.
        value: Shape of the values.
        shapes: Those of steps, rates and kept states.
    """
    return forgetting_flops(query, key, value, *shapes) // FORWARD_FLOPS * BACKWARD_FLOPS


register_flop_formula(torch.ops.mlla.forgetting_attention)(forgetting_flops)
register_flop_formula(torch.ops.mlla.forgetting_attention_backward)(forgetting_backward_flops)
