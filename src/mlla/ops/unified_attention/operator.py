"""Unified attention, fast: in parallel, or causal in chunks."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.precision import without_autocast
from mlla.ops.unified_attention.arguments import (
    ForgetGate,
    Sequences,
    check_arguments,
    to_grid,
    to_sequences,
)
from mlla.ops.unified_attention.chunked import attend_before
from mlla.ops.unified_attention.forgetting import attend_and_forget
from mlla.ops.unified_attention.parallel import attend_to_all


def unified_attention(
    query: Float[Tensor, "B H W Q"],
    key: Float[Tensor, "B H W Q"],
    value: Float[Tensor, "B H W C"],
    *,
    num_heads: int,
    causal: bool = False,
    input_gate: Float[Tensor, "B H W C"] | None = None,
    forget_gate: ForgetGate | None = None,
    shortcut: Float[Tensor, " C"] | None = None,
    normalise: bool = True,
    rotary: bool = False,
    eps: float = 1e-6,
) -> Float[Tensor, "B H W C"]:
    """Attend in time linear in the number of tokens, as linear attention, as Mamba or in between.

    With the defaults it is `linear_attention`. With one head, `causal`, both gates from the same
    steps, the shortcut and no normaliser it is `selective_scan` on the rows of the grid, one after
    the other: Mamba's B, x, C, D and Delta are key, value, query, shortcut and input gate.

    All sums run in float32 (float64 for float64 values), under autocast too.

    Args:
        query: Queries before position encoding, of all heads side by side; non-negative if
            `normalise`.
        key: Keys likewise.
        value: Values, of any width that splits into the heads.
        num_heads: Number of heads. With one head all channels share queries and keys.
        causal: Whether a token sees only itself and the tokens before it, in reading order: by
            rows, from the top left.
        input_gate: What values are multiplied by before they enter the state.
        forget_gate: How much of the state is left by every token; needs `causal`.
        shortcut: Weights with which values are added to their own output, ungated.
        normalise: Whether the weights of the values a token sees sum to one; a forget gate does
            not act on the sum, as in the equations.
        rotary: Whether positions rotate queries and keys (never in the normaliser).
        eps: Added to the normaliser for every token in it.

    Returns:
        The attended grid, in the dtype of `value`.

    Raises:
        ValueError: If a shape does not fit, there is no token, the widths do not split into
            `num_heads`, `forget_gate` comes without `causal`, or, with `rotary`, the width of
            `query` is not divisible by 4.

    Source: arXiv 2405.16605, section 4.1, equations 11 and 12.
    """
    check_arguments(query, key, value, num_heads, causal, input_gate, forget_gate, shortcut)
    with without_autocast(value.device):
        parts = to_sequences(query, key, value, num_heads, input_gate, forget_gate, rotary)
        attended = _attend(parts, causal)
        if normalise:
            attended = attended / _normaliser(parts, causal, eps)
        output = to_grid(attended, value)
        if shortcut is not None:
            output = output + shortcut.to(output.dtype) * value.to(output.dtype)
        return output.to(value.dtype)


def _attend(parts: Sequences, causal: bool) -> Tensor:
    if parts.steps is not None and parts.rates is not None:
        return attend_and_forget(*parts[:3], parts.steps, parts.rates)
    return attend_before(*parts[:3]) if causal else attend_to_all(*parts[:3])


def _normaliser(parts: Sequences, causal: bool, eps: float) -> Tensor:
    """Return Q_i Z_i, a little more than 0 for every token in Z_i, as (B, heads, L, 1)."""
    length = parts.plain_key.shape[2]
    if not causal:
        totals = parts.plain_key.sum(dim=2)[..., None]
        return parts.plain_query @ totals + eps * length
    counts = torch.arange(1, length + 1, device=parts.plain_key.device)
    totals = parts.plain_key.cumsum(dim=2)
    return (parts.plain_query * totals).sum(-1, keepdim=True) + eps * counts[:, None]
