"""Causal, without forgetting: chunks of tokens attend to what earlier chunks have summed."""

import torch
from jaxtyping import Float
from torch import Tensor

# the products of queries and keys inside a chunk are quadratic in it
CHUNK = 64


def attend_before(
    query: Float[Tensor, "B heads L K"],
    key: Float[Tensor, "B heads L K"],
    value: Float[Tensor, "B heads L V"],
) -> Float[Tensor, "B heads L V"]:
    """Return Q_i sum_j K_j^T V_j over the tokens j <= i.

    Args:
        query: Queries.
        key: Keys.
        value: Values.

    Returns:
        The sums, not normalised.
    """
    state = torch.zeros_like(key[:, :, 0, :, None] * value[:, :, 0, None, :])
    outputs = []
    for q, k, v in zip(*(part.split(CHUNK, dim=2) for part in (query, key, value)), strict=True):
        inside = (q @ k.transpose(-2, -1)).tril() @ v
        outputs.append(inside + q @ state)
        state = state + k.transpose(-2, -1) @ v
    return torch.cat(outputs, dim=2)
