"""Linear attention over all tokens at once, as two batched matrix products."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.linear_attention.arguments import check_arguments, split_heads
from mlla.ops.precision import without_autocast
from mlla.ops.rotary import rotate_by_position


def linear_attention(
    query: Float[Tensor, "B H W C"],
    key: Float[Tensor, "B H W C"],
    value: Float[Tensor, "B H W C"],
    *,
    num_heads: int,
    rotary: bool = True,
    eps: float = 1e-6,
) -> Float[Tensor, "B H W C"]:
    """Attend to all tokens at once, in time linear in their number.

    The sums over tokens run in float32 (float64 for float64 input), under autocast too: the
    25,600 terms of a 160 x 160 map overflow float16.

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
        ValueError: If the shapes differ or are not (B, H, W, C), if there is no token, if C does
            not split into `num_heads`, or, with `rotary`, if C is not divisible by 4.

    Source: arXiv 2405.16605, section 4.1.
    """
    check_arguments(query, key, value, num_heads)
    precision = torch.promote_types(value.dtype, torch.float32)
    with without_autocast(value.device):
        q, k, v = query.to(precision), key.to(precision), value.to(precision)
        rotated_q, rotated_k = (rotate_by_position(q), rotate_by_position(k)) if rotary else (q, k)
        q, v, rotated_q, rotated_k = (
            split_heads(grid, num_heads) for grid in (q, v, rotated_q, rotated_k)
        )
        # the authors spread 1 / N over both factors; here it is applied once, to the small product
        mean_k = k.mean(dim=(1, 2)).unflatten(-1, (num_heads, -1))
        num_tokens = value.shape[1] * value.shape[2]
        key_value = rotated_k.transpose(-2, -1) @ v / num_tokens
        normaliser = q @ mean_k[..., None] + eps
        output = (rotated_q @ key_value) / normaliser
        return output.transpose(1, 2).reshape(value.shape).to(value.dtype)
