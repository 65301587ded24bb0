"""Depthwise 3x3 convolutions of grids with what comes behind them, in one pass; imports Numba.

Grids are (B, H, W, C) with C a multiple of LANES, float32 or bfloat16 as int16; rows of grids are
counted through all samples. Weights are (9, C), in float32, and borders are padded with zeros. The
grid that is convolved may have further channels, in whole lanes, behind those that have weights.
"""

from typing import Any, no_type_check

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
    scratch,
    store,
    sum_of_lanes,
    zeros,
)

ONE, ZERO = np.float32(1), np.float32(0)


def _convolve_row_and(finish: Any) -> Any:
    """Build a convolution of a row that calls `finish(total, token, c, *arguments)` on vectors.

    `token` is counted through all rows, and `c` is the first channel of the vector.
    """

    @njit
    @no_type_check
    def convolve_row(grid, weights, bias, row, c, *arguments):
        _, height, width, stride = grid.shape
        channels = len(bias)
        h = row % height
        # weights of rows outside the grid are zero, so that any row serves for them
        is_above = all_lanes(ONE if h > 0 else ZERO)
        is_below = all_lanes(ONE if h < height - 1 else ZERO)
        left_above = load(weights, c) * is_above
        middle_above = load(weights, channels + c) * is_above
        right_above = load(weights, 2 * channels + c) * is_above
        left = load(weights, 3 * channels + c)
        middle = load(weights, 4 * channels + c)
        right = load(weights, 5 * channels + c)
        left_below = load(weights, 6 * channels + c) * is_below
        middle_below = load(weights, 7 * channels + c) * is_below
        right_below = load(weights, 8 * channels + c) * is_below
        here = row * width * stride + c
        above = here - width * stride if h > 0 else here
        below = here + width * stride if h < height - 1 else here
        before, now = load(bias, c), load(bias, c)
        for w in range(width):
            at = w * stride
            top, center, bottom = (
                load(grid, above + at),
                load(grid, here + at),
                load(grid, below + at),
            )
            if w > 0:
                before = fused(top, right_above, before)
                before = fused(bottom, right_below, fused(center, right, before))
                finish(before, row * width + w - 1, c, *arguments)
            now = fused(top, middle_above, now)
            before = fused(bottom, middle_below, fused(center, middle, now))
            now = fused(top, left_above, load(bias, c))
            now = fused(bottom, left_below, fused(center, left, now))
        finish(before, row * width + width - 1, c, *arguments)

    return convolve_row


@njit
@no_type_check
def _silu(x):
    return x / (all_lanes(ONE) + power_of_two(x, all_lanes(-LOG2_E)))


@njit
@no_type_check
def _keep(total, token, c, convolved, tokens, first):
    channels = convolved.shape[3]
    store(convolved, token * channels + c, total)
    store(tokens, (token - first) * channels + c, total)


@njit
@no_type_check
def _keep_silu(total, token, c, result):
    store(result, token * result.shape[3] + c, _silu(total))


@njit
@no_type_check
def _gate(total, token, c, attended, gate, result):
    channels = result.shape[3]
    at = token * channels + c
    # the gate is in the last channels
    opening = _silu(load(gate, (token + 1) * gate.shape[3] - channels + c))
    store(result, at, (total + load(attended, at)) * opening)


_convolve_and_keep = _convolve_row_and(_keep)
_convolve_and_silu = _convolve_row_and(_keep_silu)
_convolve_and_gate = _convolve_row_and(_gate)


@compiled_within
@no_type_check
def _convolve_and_normalize(
    grid, weights, bias, epsilon, convolved, normalized, start, first, last
):
    """Write convolved rows, and the same tokens normalised over channels, without weights.

    Args:
        grid: Input.
        weights: Of the convolution.
        bias: Of the convolution.
        epsilon: Added to the variance.
        convolved: Result.
        normalized: Result, beginning with row `start`.
        start: See there.
        first: First row, counted from `start`.
        last: Row to stop before.
    """
    width, channels = grid.shape[2:]
    tokens = scratch(width * channels)
    share = ONE / np.float32(channels)
    for row in range(start + first, start + last):
        begin = row * width
        for c in range(0, channels, LANES):
            _convolve_and_keep(grid, weights, bias, row, c, convolved, tokens, begin)
        for w in range(width):
            at = w * channels
            total = zeros()
            for c in range(0, channels, LANES):
                total = total + load(tokens, at + c)
            mean = all_lanes(sum_of_lanes(total) * share)
            total = zeros()
            for c in range(0, channels, LANES):
                centered = load(tokens, at + c) - mean
                total = fused(centered, centered, total)
            scale = all_lanes(ONE / np.sqrt(sum_of_lanes(total) * share + epsilon))
            result = ((row - start) * width + w) * channels
            for c in range(0, channels, LANES):
                store(normalized, result + c, (load(tokens, at + c) - mean) * scale)


_share_convolve_and_normalize = sharing(_convolve_and_normalize)


@compiled
@no_type_check
def convolve_and_normalize(team, *arguments):
    """Share `_convolve_and_normalize` among a team."""
    _share_convolve_and_normalize(team, arguments)


@compiled_within
@no_type_check
def _convolve_with_silu(grid, weights, bias, result, first, last):
    """Write convolved rows after SiLU; arguments as in `_convolve_and_normalize`."""
    for row in range(first, last):
        for c in range(0, len(bias), LANES):
            _convolve_and_silu(grid, weights, bias, row, c, result)


_share_convolve_with_silu = sharing(_convolve_with_silu)


@compiled
@no_type_check
def convolve_with_silu(team, *arguments):
    """Share `_convolve_with_silu` among a team."""
    _share_convolve_with_silu(team, arguments)


@compiled_within
@no_type_check
def _add_convolved_and_gate(attended, grid, weights, bias, gate, result, first, last):
    """Write (attended + convolved grid) * SiLU of the gate, the last channels of its grid.

    Arguments are as in `_convolve_and_normalize`.
    """
    for row in range(first, last):
        for c in range(0, len(bias), LANES):
            _convolve_and_gate(grid, weights, bias, row, c, attended, gate, result)


_share_add_convolved_and_gate = sharing(_add_convolved_and_gate)


@compiled
@no_type_check
def add_convolved_and_gate(team, *arguments):
    """Share `_add_convolved_and_gate` among a team."""
    _share_add_convolved_and_gate(team, arguments)
