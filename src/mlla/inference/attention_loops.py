"""Loops of linear attention over tokens, in one pass each; imports Numba.

Grids are as in `grid_loops`, and so are rows; a head has a multiple of LANES channels.
"""

from typing import no_type_check

import numpy as np

from mlla.inference.grid_loops import LOG2_E, ONE
from mlla.ops.simd.compiling import compiled
from mlla.ops.simd.exponential import power_of_two
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.vectors import (
    all_lanes,
    fused,
    load,
    store,
    sum_of_lanes,
    swap_neighbours,
    where_positive,
    zeros,
)

_EPS = np.float32(1e-6)


@compiled
@no_type_check
def turn_keys(query_key, row_turns, column_turns, turned, sums, first, last):
    """Write ELU + 1 of keys, turned by their positions, and the sums of every row unturned.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: Cosines and signed sines of rows (2, H, C), zero where columns turn.
        column_turns: The same of columns (2, W, C).
        turned: Result (B, H, W, C).
        sums: Result (B, H, C).
        first: Flat index of the first row.
        last: One more than that of the last.
    """
    _, height, width, channels = turned.shape
    one, log2_e = all_lanes(ONE), all_lanes(LOG2_E)
    for row in range(first, last):
        h = row % height
        for c in range(0, channels, LANES):
            cosine_row = load(row_turns, h * channels + c)
            sine_row = load(row_turns, (height + h) * channels + c)
            total = zeros()
            for w in range(width):
                token = row * width + w
                x = load(query_key, (2 * token + 1) * channels + c)
                key = where_positive(x, x + one, power_of_two(x, log2_e))
                total = total + key
                cosine = cosine_row + load(column_turns, w * channels + c)
                sine = sine_row + load(column_turns, (width + w) * channels + c)
                other = swap_neighbours(key) * sine
                store(turned, token * channels + c, fused(key, cosine, other))
            store(sums, row * channels + c, total)


@compiled
@no_type_check
def turn_queries(query_key, row_turns, column_turns, mean_key, num_heads, turned, first, last):
    """Write ELU + 1 of queries, turned, over their product with the mean key of their head.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: As in `turn_keys`.
        column_turns: As in `turn_keys`.
        mean_key: (B, C).
        num_heads: Number of heads; C / num_heads is a multiple of LANES.
        turned: Result (B, H, W, C).
        first: Flat index of the first row.
        last: One more than that of the last.
    """
    _, height, width, channels = turned.shape
    size = channels // num_heads
    one, log2_e = all_lanes(ONE), all_lanes(LOG2_E)
    for row in range(first, last):
        sample, h = row // height, row % height
        for head in range(0, channels, size):
            for w in range(width):
                token = row * width + w
                total = zeros()
                for c in range(head, head + size, LANES):
                    x = load(query_key, 2 * token * channels + c)
                    query = where_positive(x, x + one, power_of_two(x, log2_e))
                    total = fused(query, load(mean_key, sample * channels + c), total)
                    store(turned, token * channels + c, query)
                weight = all_lanes(ONE / (sum_of_lanes(total) + _EPS))
                for c in range(head, head + size, LANES):
                    cosine = load(row_turns, h * channels + c) + load(
                        column_turns, w * channels + c
                    )
                    sine = load(row_turns, (height + h) * channels + c) + load(
                        column_turns, (width + w) * channels + c
                    )
                    query = load(turned, token * channels + c) * weight
                    store(
                        turned, token * channels + c, query * cosine + swap_neighbours(query) * sine
                    )
