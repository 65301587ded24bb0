"""Steps of a block that are one pass over a grid each, compiled by Numba where it is there.

They run in the threads of `share_tasks`, and for small grids in the calling one.
"""

import importlib
from functools import cache, lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.inference.packed import PackedDepthwise
from mlla.ops.fast_paths import fast_paths_enabled
from mlla.ops.rotary import BASE_FREQUENCY
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.workers import share_tasks

# numbers of a grid that are done before another thread is awake
_SMALL = 2**18


def can_run(*widths: int) -> bool:
    """Tell whether the loops can be compiled, are not turned off, and know these widths.

    Args:
        widths: Channels of a grid, or of one of its heads.
    """
    return (
        fast_paths_enabled()
        and all(width % LANES == 0 for width in widths)
        and not reason_unavailable()
    )


@cache
def reason_unavailable() -> str:
    """Tell why the loops cannot be imported; empty if they can."""
    try:
        _loops()
    except ImportError as error:
        return str(error)
    return ""


@cache
def _loops() -> tuple[Any, Any]:
    grids = importlib.import_module("mlla.inference.grid_loops")
    return grids, importlib.import_module("mlla.inference.attention_loops")


def convolve_and_normalize(
    x: Float[Tensor, "B H W C"],
    conv: PackedDepthwise,
    epsilon: float,
    convolved: Float[Tensor, "B H W C"],
    rows: slice,
) -> Float[Tensor, "1 rows W C"]:
    """Convolve some rows of a grid, and normalise the resulting tokens without weights.

    Args:
        x: The grid, contiguous.
        conv: The convolution.
        epsilon: Added to the variance of a token.
        convolved: Where the convolved rows go.
        rows: Which rows, counted through all samples.

    Returns:
        The normalised rows.
    """
    width, channels = x.shape[2:]
    start, stop = rows.start, min(rows.stop, x.shape[0] * x.shape[1])
    normalized = x.new_empty(1, stop - start, width, channels)
    arrays = (_array(x), *conv.pack(), epsilon, _array(convolved), _array(normalized), start)
    loop = _loops()[0].convolve_and_normalize
    _share(lambda first, last: loop(*arrays, start + first, start + last), normalized)
    return normalized


def convolve_with_silu(
    x: Float[Tensor, "B H W C"], conv: PackedDepthwise
) -> Float[Tensor, "B H W C"]:
    """Convolve a grid, then apply SiLU.

    Args:
        x: The grid.
        conv: The convolution.
    """
    result = torch.empty_like(x)
    arrays = (_array(x), *conv.pack(), _array(result))
    loop = _loops()[0].convolve_with_silu
    _share(lambda first, last: loop(*arrays, first, last), x)
    return result


def attend_and_gate(
    query_key: Float[Tensor, "B H W 2*C"],
    value: Float[Tensor, "B H W C"],
    num_heads: int,
    local_position: PackedDepthwise,
    gate: Float[Tensor, "B H W C"],
) -> Float[Tensor, "B H W C"]:
    """Compute what `linear_attention` does, add the convolved values and multiply by the gate.

    Args:
        query_key: Queries and keys before ELU + 1.
        value: Values.
        num_heads: Number of heads.
        local_position: The convolution of values.
        gate: What the result is multiplied by.
    """
    attended = _attend(query_key, value, num_heads)
    result = torch.empty_like(value)
    arrays = (_array(attended), _array(value), *local_position.pack(), _array(gate), _array(result))
    loop = _loops()[0].add_convolved_and_gate
    _share(lambda first, last: loop(*arrays, first, last), value)
    return result


def _attend(query_key: Tensor, value: Tensor, num_heads: int) -> Tensor:
    batch, height, width, channels = value.shape
    num_tokens = height * width
    turns = _turns(height, channels, False), _turns(width, channels, True)
    queries, keys = value.new_empty(2, *value.shape, dtype=torch.float32)
    sums = keys.new_empty(batch, height, channels)
    loops = _loops()[1]
    arrays = (_array(query_key), *turns, _array(keys), _array(sums))
    _share(lambda first, last: loops.turn_keys(*arrays, first, last), query_key)
    mean_key = sums.sum(1).mul_(1 / num_tokens)
    read = (_array(query_key), *turns, _array(mean_key), num_heads, _array(queries))
    _share(lambda first, last: loops.turn_queries(*read, first, last), query_key)

    def heads(tokens: Tensor) -> Tensor:
        return tokens.view(num_tokens, num_heads, -1).transpose(0, 1)

    values = value.float()
    # the keys are not needed any more
    attended = keys
    for sample in range(batch):
        key_value = torch.bmm(heads(keys[sample]).mT, heads(values[sample])).mul_(1 / num_tokens)
        torch.bmm(heads(queries[sample]), key_value, out=heads(attended[sample]))
    return attended


def _share(work: Any, grid: Tensor) -> None:
    share_tasks(work, grid.shape[0] * grid.shape[1], is_small=grid.numel() < _SMALL)


def _array(tensor: Tensor) -> Any:
    # NumPy has no bfloat16
    bits = tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor
    return bits.detach().contiguous().numpy()


@lru_cache(maxsize=64)
def _turns(length: int, channels: int, are_columns: bool) -> Any:
    """Return cosines and signed sines of positions on one axis (2, length, C).

    They are zero for the channels that the other axis turns, so that both can be added.
    """
    pairs = channels // 4
    frequencies = BASE_FREQUENCY ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    angles = torch.arange(length, dtype=torch.float32)[:, None] * frequencies
    turns = torch.zeros(2, length, 2, pairs, 2)
    turns[0, :, int(are_columns)] = angles.cos()[..., None]
    turns[1, :, int(are_columns)] = torch.stack((-angles.sin(), angles.sin()), dim=-1)
    return turns.flatten(2).numpy()
