"""Linear attention as MLLA uses it, from the projection of queries and keys."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mlla.ops.fast_paths import fast_paths_enabled, may_run_fast_path
from mlla.ops.linear_attention.by_loops import LOOPS
from mlla.ops.linear_attention.operator import attend, reason_without_triton
from mlla.ops.linear_attention.parallel import linear_attention
from mlla.ops.simd.loading import import_failure
from mlla.ops.tracing import is_tracing

# complex numbers, which rotate, are not known everywhere; on "meta" the operator counts its cost
_DEVICES = ("cpu", "cuda", "meta")


def projected_linear_attention(
    query_key: Float[Tensor, "B H W C2"],
    value: Float[Tensor, "B H W C"],
    *,
    num_heads: int,
    eps: float = 1e-6,
) -> Float[Tensor, "B H W C"]:
    """Attend with ELU + 1 of the first half as rotated queries and of the second as rotated keys.

    Equal to `projected_linear_attention_plain`, with its sums in float32 (float64 for float64
    values), under autocast too. It keeps only its arguments for the backward pass. A trace, an
    export and `torch.compile` see the plain operations.

    Args:
        query_key: Queries and keys side by side, 2C wide.
        value: Values.
        num_heads: Number of heads the width C splits into.
        eps: Added to the normaliser.

    Returns:
        The attended grid, in the dtype of `value`.

    Raises:
        ValueError: If the shapes do not fit, there is no token, C is not divisible by 4, or C does
            not split into `num_heads`.

    Source: arXiv 2405.16605, section 4.2.
    """
    _check_arguments(query_key, value)
    if may_run_fast_path() and _fits_operator(value, num_heads):
        return attend(query_key, value, num_heads, eps)[0]
    return projected_linear_attention_plain(query_key, value, num_heads=num_heads, eps=eps)


def projected_linear_attention_plain(
    query_key: Float[Tensor, "B H W C2"],
    value: Float[Tensor, "B H W C"],
    *,
    num_heads: int,
    eps: float = 1e-6,
) -> Float[Tensor, "B H W C"]:
    """Compute `projected_linear_attention` from operations of PyTorch, one after the other.

    Args:
        query_key: Queries and keys side by side, 2C wide.
        value: Values.
        num_heads: Number of heads the width C splits into.
        eps: Added to the normaliser.

    Returns:
        The attended grid, in the dtype of `value`.

    Raises:
        ValueError: As `projected_linear_attention`.
    """
    _check_arguments(query_key, value)
    # ELU + 1 of a large negative number is lost in half precision
    precision = torch.promote_types(query_key.dtype, torch.float32)
    query, key = (functional.elu(query_key.to(precision)) + 1.0).chunk(2, dim=-1)
    return linear_attention(query, key, value, num_heads=num_heads, eps=eps)


def _check_arguments(query_key: Tensor, value: Tensor) -> None:
    if is_tracing():
        return
    wanted = (*value.shape[:-1], 2 * value.shape[-1])
    if query_key.shape != wanted:
        raise ValueError(
            f"query_key has shape {tuple(query_key.shape)} but value {tuple(value.shape)}; queries "
            f"and keys side by side are {wanted}"
        )
    if query_key.device != value.device:
        raise ValueError(
            f"query_key is on {query_key.device} but value on {value.device}; move both to one "
            "device"
        )


def _fits_operator(value: Tensor, num_heads: int) -> bool:
    """Tell whether the operator takes these values; what is wrong with others, the rest says."""
    if value.device.type not in _DEVICES or value.dim() != 4 or num_heads < 1:
        return False
    _, height, width, channels = value.shape
    # pairs of channels that turn together must be of one head
    return height * width > 0 and channels % 4 == 0 and channels % (2 * num_heads) == 0


def active_form(device_type: str = "cpu") -> str:
    """Tell which form runs on a kind of device, and why.

    Args:
        device_type: As in `torch.device.type`.
    """
    if not fast_paths_enabled():
        return "plain PyTorch, because MLLA_FAST_PATHS=0 or use_fast_paths(False)"
    if device_type not in _DEVICES:
        return "plain PyTorch: there is no faster form for this device"
    if device_type == "cuda":
        name, tool, missing = "Triton kernels", "Triton", reason_without_triton()
    else:
        name, tool, missing = "loops compiled by Numba", "Numba", import_failure(LOOPS)
    if missing:
        return f"operators of PyTorch, because {tool} does not work: {missing}"
    return f"{name}, for heads of the widths they know"
