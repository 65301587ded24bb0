"""Steps of a block that are one pass over a grid each, compiled by Numba where it is there.

Large grids are shared among threads.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.inference.packed import PackedDepthwise
from mlla.ops.fast_paths import fast_paths_enabled
from mlla.ops.linear_attention.by_loops import attend_by_loops
from mlla.ops.simd.grids import as_array, share_rows
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.loading import import_failure, load_loops

_LOOPS = "mlla.inference.grid_loops"
_EPS = 1e-6


def can_run(*widths: int) -> bool:
    """Tell whether the loops can be compiled, are not turned off, and know these widths.

    Args:
        widths: Channels of a grid, or of one of its heads.
    """
    return (
        fast_paths_enabled()
        and all(width % LANES == 0 for width in widths)
        and not import_failure(_LOOPS)
    )


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
    arrays = (as_array(x), *conv.pack(), epsilon, as_array(convolved), as_array(normalized), start)
    share_rows(load_loops(_LOOPS).convolve_and_normalize, normalized, *arrays)
    return normalized


def convolve_with_silu(
    x: Float[Tensor, "B H W D"], conv: PackedDepthwise
) -> Float[Tensor, "B H W C"]:
    """Convolve the first channels of a grid and apply SiLU.

    Args:
        x: The grid, D >= C.
        conv: The convolution of C channels.
    """
    result = x.new_empty(*x.shape[:3], conv.out_channels)
    arrays = (as_array(x), *conv.pack(), as_array(result))
    share_rows(load_loops(_LOOPS).convolve_with_silu, result, *arrays)
    return result


def attend_and_gate(
    query_key: Float[Tensor, "B H W 2*C"],
    value: Float[Tensor, "B H W C"],
    num_heads: int,
    local_position: PackedDepthwise,
    gate: Float[Tensor, "B H W D"],
) -> Float[Tensor, "B H W C"]:
    """Compute what `linear_attention` does, add the convolved values, multiply by SiLU of the gate.

    Args:
        query_key: Queries and keys before ELU + 1.
        value: Values.
        num_heads: Number of heads.
        local_position: The convolution of values.
        gate: The gate before SiLU, in the last C channels, D >= C.
    """
    attended = attend_by_loops(query_key, value, num_heads, _EPS).output
    result = torch.empty_like(value)
    grids, written = (as_array(attended), as_array(value)), (as_array(gate), as_array(result))
    loop = load_loops(_LOOPS).add_convolved_and_gate
    share_rows(loop, value, *grids, *local_position.pack(), *written)
    return result
