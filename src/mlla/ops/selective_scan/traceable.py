"""The selective scan as a fixed number of operations for any number of tokens: for exports.

A trace records no loop whose length depends on the input, and many runtimes know none. So tokens
are cut into groups of RADIX, which are run through all at once; what groups leave behind is
scanned in the same way, group by group of groups, until one group is left.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mlla.ops.precision import without_autocast
from mlla.ops.selective_scan.arguments import check_arguments

RADIX = 16
_LEVELS = 5
# 1,048,576, such as a map of 1024 x 1024
MAX_TOKENS = RADIX**_LEVELS


def selective_scan_traceable(
    x: Float[Tensor, "B G L D"],
    delta: Float[Tensor, "B G L D"],
    A: Float[Tensor, "G D N"],
    B: Float[Tensor, "B G L N"],
    C: Float[Tensor, "B G L N"],
    D: Float[Tensor, "G D"],
) -> Float[Tensor, "B G L D"]:
    """Compute `selective_scan_reference` for up to MAX_TOKENS tokens; more are an error.

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
        RuntimeError: If there are more than MAX_TOKENS; an exported graph fails as well.
    """
    check_arguments(x, delta, A, B, C, D)
    precision = torch.promote_types(x.dtype, torch.float32)
    length = x.shape[2]
    groups = _num_groups(length)
    with without_autocast(x.device):
        tokens, steps, rates, inputs, outputs, skip = (
            tensor.to(precision) for tensor in (x, delta, A, B, C, D)
        )
        rates = rates[:, None, None]
        # a step of zero neither decays a state nor enters it
        grouped_steps = _in_groups(steps[..., None], length, groups)
        step = grouped_steps.split(1, dim=3)
        entering = _in_groups((steps * tokens)[..., None], length, groups).split(1, dim=3)
        enter = _in_groups(inputs[..., None, :], length, groups).split(1, dim=3)
        leave = _in_groups(outputs[..., None, :], length, groups).split(1, dim=3)

        left = entering[0] * enter[0]
        for i in range(1, RADIX):
            left = torch.exp(step[i] * rates) * left + entering[i] * enter[i]
        decays = torch.exp(grouped_steps.sum(3, keepdim=True) * rates)
        state = _states_before(decays, left, groups, _LEVELS - 1)
        results = []
        for i in range(RADIX):
            state = torch.exp(step[i] * rates) * state + entering[i] * enter[i]
            results.append((state * leave[i]).sum(-1))
        y = _in_sequence(torch.cat(results, dim=3), groups)[:, :, :length]
        return (y + skip[:, None] * tokens).to(x.dtype)


def _num_groups(length: int) -> int:
    return (length + RADIX - 1) // RADIX


def _in_groups(sequence: Tensor, length: int, num_groups: int) -> Tensor:
    """(B, G, L, ...) to (B, G, K, RADIX, ...) for K groups, the missing tokens zero.

    `length` is L and the batch is left open, because the ONNX exporter takes sizes of tensors that
    went through a reshape for constants.
    """
    groups, rest = sequence.shape[1], sequence.shape[3:]
    padding = (0, 0) * len(rest) + (0, _num_groups(length) * RADIX - length)
    padded = functional.pad(sequence, padding)
    return padded.reshape(-1, groups, num_groups, RADIX, *rest)


def _in_sequence(grouped: Tensor, num_groups: int) -> Tensor:
    """(B, G, K, RADIX, ...) to (B, G, K * RADIX, ...)."""
    groups, rest = grouped.shape[1], grouped.shape[4:]
    return grouped.reshape(-1, groups, num_groups * RADIX, *rest)


def _states_before(decays: Tensor, left: Tensor, length: int, levels: int) -> Tensor:
    """Return the state before each group from what groups decay and leave.

    Args:
        decays: Decay of each group (B, G, K, 1, D, N).
        left: State after each group that starts from zero, of the same shape.
        length: The number of groups K.
        levels: How many more times groups are joined; RADIX**levels is at least K.
    """
    # the last level takes one group; of more, the sizes do not fit later, in every runtime
    groups = _num_groups(length) if levels > 1 else 1
    decay = _in_groups(decays[:, :, :, 0], length, groups).split(1, dim=3)
    leave = _in_groups(left[:, :, :, 0], length, groups).split(1, dim=3)
    state = torch.zeros_like(leave[0])
    if levels > 1:
        joined, total = decay[0], leave[0]
        for i in range(1, RADIX):
            joined, total = joined * decay[i], decay[i] * total + leave[i]
        state = _states_before(joined, total, groups, levels - 1)
    states = [state]
    for i in range(RADIX - 1):
        state = decay[i] * state + leave[i]
        states.append(state)
    return _in_sequence(torch.cat(states, dim=3), groups)[:, :, :length, None]
