"""Linear attention with every weight written out: O(N^2), plain, for tests and for reading."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.linear_attention.arguments import check_arguments, split_heads
from mlla.ops.precision import without_autocast
from mlla.ops.rotary import rotate_by_position


def linear_attention_reference(
    query: Float[Tensor, "B H W C"],
    key: Float[Tensor, "B H W C"],
    value: Float[Tensor, "B H W C"],
    *,
    num_heads: int,
    rotary: bool = True,
    eps: float = 1e-6,
) -> Float[Tensor, "B H W C"]:
    """Compute `linear_attention` from its N x N matrix of weights.

    y_i = sum_j (R q_i . R k_j) v_j / (N (q_i . mean_j k_j + eps)), per head, R the rotation.

    Args:
        query: Non-negative queries before position encoding.
        key: Non-negative keys before position encoding.
        value: Values.
        num_heads: Number of heads the width splits into.
        rotary: Whether positions rotate queries and keys (never in the normaliser).
        eps: Added to the normaliser.

    Returns:
        The attended grid, in the dtype of `value`.

    Raises:
        ValueError: As `linear_attention`.

    Source: arXiv 2405.16605, equations 3 and 4.
    """
    check_arguments(query, key, value, num_heads)
    precision = torch.promote_types(value.dtype, torch.float32)
    height, width = value.shape[1:3]
    with without_autocast(value.device):
        q, k, v = (grid.to(precision) for grid in (query, key, value))
        rotated_q, rotated_k = (rotate_by_position(q), rotate_by_position(k)) if rotary else (q, k)
        q, k, v, rotated_q, rotated_k = (
            split_heads(grid, num_heads) for grid in (q, k, v, rotated_q, rotated_k)
        )
        scores = torch.einsum("bhic,bhjc->bhij", rotated_q, rotated_k) / (height * width)
        normaliser = torch.einsum("bhic,bhc->bhi", q, k.mean(dim=2)) + eps
        output = torch.einsum("bhij,bhjc->bhic", scores / normaliser[..., None], v)
        return output.permute(0, 2, 1, 3).reshape(value.shape).to(value.dtype)
