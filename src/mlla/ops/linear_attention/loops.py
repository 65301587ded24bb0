"""Loops of linear attention over tokens, in one pass each; imports Numba.

Grids are (B, H, W, C), float32 or bfloat16 as int16, and a head has a multiple of LANES channels.
Rows are counted through all samples. Turns are cosines and signed sines of positions, for rows
(2, H, C) and columns (2, W, C), each zero for channels that the other axis turns.
"""

from typing import no_type_check

import numpy as np
from numba import njit

from mlla.ops.simd.compiling import compiled, compiled_within
from mlla.ops.simd.exponential import LOG2_E, power_of_two
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.team import sharing
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

_ONE = np.float32(1)


@njit
@no_type_check
def _feature(projected, at):
    """Return ELU + 1."""
    x = load(projected, at)
    return where_positive(x, x + all_lanes(_ONE), power_of_two(x, all_lanes(LOG2_E)))


@njit
@no_type_check
def _slope(feature):
    """Return the derivative of ELU + 1 where it has the given value."""
    one = all_lanes(_ONE)
    return where_positive(feature - one, one, feature)


@njit
@no_type_check
def _turn(vector, row_turns, column_turns, h, w, c, sign):
    """Turn pairs of channels by their position, or back where sign is -1."""
    height, width, channels = row_turns.shape[1], column_turns.shape[1], row_turns.shape[2]
    cosine = load(row_turns, h * channels + c) + load(column_turns, w * channels + c)
    sine = load(row_turns, (height + h) * channels + c)
    sine = (sine + load(column_turns, (width + w) * channels + c)) * all_lanes(sign)
    return fused(vector, cosine, swap_neighbours(vector) * sine)


@compiled_within
@no_type_check
def _turn_keys(query_key, row_turns, column_turns, turned, means, first, last):
    """Write turned features of keys, and what the features of every row add to their mean.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: See above.
        column_turns: See above.
        turned: Result (B, H, W, C).
        means: Result (B, H, C); over rows, they sum up to the mean of all tokens.
        first: First row.
        last: Row to stop before.
    """
    _, height, width, channels = turned.shape
    share = all_lanes(_ONE / np.float32(height * width))
    for row in range(first, last):
        for c in range(0, channels, LANES):
            total = zeros()
            for w in range(width):
                token = row * width + w
                key = _feature(query_key, (2 * token + 1) * channels + c)
                total = total + key
                key = _turn(key, row_turns, column_turns, row % height, w, c, _ONE)
                store(turned, token * channels + c, key)
            store(means, row * channels + c, total * share)


_share_turn_keys = sharing(_turn_keys)


@compiled
@no_type_check
def turn_keys(team, *arguments):
    """Share `_turn_keys` among a team."""
    _share_turn_keys(team, arguments)


@compiled_within
@no_type_check
def _turn_queries(
    query_key, row_turns, column_turns, mean_key, num_heads, eps, turned, first, last
):
    """Write turned features of queries, divided by their normaliser.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: See above.
        column_turns: See above.
        mean_key: Mean feature of the keys (B, C).
        num_heads: Number of heads.
        eps: Added to the normaliser.
        turned: Result (B, H, W, C).
        first: First row.
        last: Row to stop before.
    """
    _, height, width, channels = turned.shape
    size = channels // num_heads
    for row in range(first, last):
        sample, h = row // height, row % height
        for head in range(0, channels, size):
            for w in range(width):
                token = row * width + w
                total = zeros()
                for c in range(head, head + size, LANES):
                    query = _feature(query_key, 2 * token * channels + c)
                    total = fused(query, load(mean_key, sample * channels + c), total)
                    store(turned, token * channels + c, query)
                weight = all_lanes(_ONE / (sum_of_lanes(total) + eps))
                for c in range(head, head + size, LANES):
                    query = load(turned, token * channels + c) * weight
                    query = _turn(query, row_turns, column_turns, h, w, c, _ONE)
                    store(turned, token * channels + c, query)


_share_turn_queries = sharing(_turn_queries)


@compiled
@no_type_check
def turn_queries(team, *arguments):
    """Share `_turn_queries` among a team."""
    _share_turn_queries(team, arguments)


@compiled_within
@no_type_check
def _query_gradients(
    query_key, row_turns, column_turns, mean_key, num_heads, eps, turned, result, sums, first, last
):
    """Write gradients of projected queries, and for every row what the mean key is owed.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: See above.
        column_turns: See above.
        mean_key: Mean feature of the keys (B, C).
        num_heads: Number of heads.
        eps: Added to the normaliser.
        turned: Gradient of the turned features times the normaliser, without the normaliser's own
            share (B, H, W, C); overwritten.
        result: Result (B, H, W, 2 C), of which the first halves are written.
        sums: Result (B, H, C).
        first: First row.
        last: Row to stop before.
    """
    _, height, width, channels = turned.shape
    size = channels // num_heads
    for row in range(first, last):
        sample, h = row // height, row % height
        for head in range(0, channels, size):
            for c in range(head, head + size, LANES):
                store(sums, row * channels + c, zeros())
            for w in range(width):
                token = row * width + w
                total, slope = zeros(), zeros()
                for c in range(head, head + size, LANES):
                    query = _feature(query_key, 2 * token * channels + c)
                    grad = load(turned, token * channels + c)
                    grad = _turn(grad, row_turns, column_turns, h, w, c, -_ONE)
                    store(turned, token * channels + c, grad)
                    total = fused(query, load(mean_key, sample * channels + c), total)
                    slope = fused(query, grad, slope)
                inverse = _ONE / (sum_of_lanes(total) + eps)
                scale = all_lanes(inverse)
                weight = all_lanes(-sum_of_lanes(slope) * inverse * inverse)
                for c in range(head, head + size, LANES):
                    query = _feature(query_key, 2 * token * channels + c)
                    at = row * channels + c
                    store(sums, at, fused(query, weight, load(sums, at)))
                    key = load(mean_key, sample * channels + c)
                    grad = fused(key, weight, load(turned, token * channels + c) * scale)
                    store(result, 2 * token * channels + c, grad * _slope(query))


_share_query_gradients = sharing(_query_gradients)


@compiled
@no_type_check
def query_gradients(team, *arguments):
    """Share `_query_gradients` among a team."""
    _share_query_gradients(team, arguments)


@compiled_within
@no_type_check
def _key_gradients(query_key, row_turns, column_turns, grad_mean_key, turned, result, first, last):
    """Write gradients of projected keys.

    Args:
        query_key: Queries and keys (B, H, W, 2 C).
        row_turns: See above.
        column_turns: See above.
        grad_mean_key: Gradient of the mean key, over the number of tokens (B, C).
        turned: Gradient of the turned features (B, H, W, C).
        result: Result (B, H, W, 2 C), of which the second halves are written.
        first: First row.
        last: Row to stop before.
    """
    _, height, width, channels = turned.shape
    for row in range(first, last):
        for c in range(0, channels, LANES):
            mean = load(grad_mean_key, row // height * channels + c)
            for w in range(width):
                token = row * width + w
                at = (2 * token + 1) * channels + c
                grad = load(turned, token * channels + c)
                grad = _turn(grad, row_turns, column_turns, row % height, w, c, -_ONE) + mean
                store(result, at, grad * _slope(_feature(query_key, at)))


_share_key_gradients = sharing(_key_gradients)


@compiled
@no_type_check
def key_gradients(team, *arguments):
    """Share `_key_gradients` among a team."""
    _share_key_gradients(team, arguments)
