"""Unified attention token by token, straight from its equations: for tests and for reading."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.precision import without_autocast
from mlla.ops.unified_attention.arguments import (
    ForgetGate,
    check_arguments,
    to_grid,
    to_sequences,
)


def unified_attention_recurrent(
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
    """Compute `unified_attention` by its recurrence.

    S_i = A_i (.) S_(i-1) + K_i^T (G_i (.) V_i),  Z_i = Z_(i-1) + K_i^T,
    y_i = Q_i S_i / (Q_i Z_i + eps i) + D (.) V_i

    with the input gate G, the forget gate A_i = exp(steps_i rates) and the shortcut D, each left
    out where its argument is. Without `causal` every token reads the last S and Z.

    Args:
        query: As in `unified_attention`, and so are all others.
        key: See there.
        value: See there.
        num_heads: See there.
        causal: See there.
        input_gate: See there.
        forget_gate: See there.
        shortcut: See there.
        normalise: See there.
        rotary: See there.
        eps: See there.

    Returns:
        The attended grid, in the dtype of `value`.

    Raises:
        ValueError: As `unified_attention`.

    Source: arXiv 2405.16605, equations 11 and 12.
    """
    check_arguments(query, key, value, num_heads, causal, input_gate, forget_gate, shortcut)
    with without_autocast(value.device):
        parts = to_sequences(query, key, value, num_heads, input_gate, forget_gate, rotary)
        queries, keys, values = (part.unbind(2) for part in parts[:3])
        plain_queries, plain_keys = parts.plain_query.unbind(2), parts.plain_key.unbind(2)
        # states (B, heads, K, V) and (B, heads, K), after every token
        state = torch.zeros_like(keys[0])[..., None] * values[0][..., None, :]
        total = torch.zeros_like(plain_keys[0])
        states, totals, counts = [], [], []
        for i in range(len(values)):
            if parts.steps is not None and parts.rates is not None:
                exponents = parts.steps[:, :, i, None, :] * parts.rates.transpose(1, 2)
                state = torch.exp(exponents) * state
            state = state + keys[i][..., None] * values[i][..., None, :]
            total = total + plain_keys[i]
            states.append(state)
            totals.append(total)
            counts.append(i + 1)

        outputs = []
        for i in range(len(values)):
            last = i if causal else len(values) - 1
            output = torch.einsum("bhk,bhkv->bhv", queries[i], states[last])
            if normalise:
                similarity = (plain_queries[i] * totals[last]).sum(-1, keepdim=True)
                output = output / (similarity + eps * counts[last])
            outputs.append(output)
        attended = to_grid(torch.stack(outputs, dim=2), value)
        if shortcut is not None:
            attended = attended + shortcut.to(attended.dtype) * value.to(attended.dtype)
        return attended.to(value.dtype)
