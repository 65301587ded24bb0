"""The selective scan, token by token, straight from its equations: for tests and for reading."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.precision import without_autocast


def selective_scan_reference(
    x: Float[Tensor, "B G L D"],
    delta: Float[Tensor, "B G L D"],
    A: Float[Tensor, "G D N"],
    B: Float[Tensor, "B G L N"],
    C: Float[Tensor, "B G L N"],
    D: Float[Tensor, "G D"],
) -> Float[Tensor, "B G L D"]:
    """Run the recurrence of a selective state space model over a sequence.

    h_i = exp(delta_i A) h_(i-1) + delta_i B_i x_i and y_i = C_i h_i + D x_i, from h_0 = 0. The
    state is kept in float32, or in float64 for float64 input.

    Args:
        x: Tokens of G independent sequences, such as the orders of `grid_scan`.
        delta: Positive step of every token and channel (after softplus).
        A: Negative rate of decay of every channel and state.
        B: How a token enters each state.
        C: How each state is read out.
        D: Weight of the token itself.

    Returns:
        The output of every token, in the dtype of `x`.

    Source: arXiv 2312.00752, equations 2 and 4, with its simplified discretisation of B.
    """
    precision = torch.promote_types(x.dtype, torch.float32)
    with without_autocast(x.device):
        tokens, steps, rates, inputs, outputs, skip = (
            tensor.to(precision) for tensor in (x, delta, A, B, C, D)
        )
        state = tokens.new_zeros(*tokens.shape[:2], *rates.shape[1:])
        results = []
        for token, step, enter, leave in zip(
            *(tensor.unbind(2) for tensor in (tokens, steps, inputs, outputs)), strict=True
        ):
            change = (step * token)[..., None] * enter[..., None, :]
            state = torch.exp(step[..., None] * rates) * state + change
            results.append((state * leave[..., None, :]).sum(-1))
        return (torch.stack(results, dim=2) + skip[:, None] * tokens).to(x.dtype)
