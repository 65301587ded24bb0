"""The forward loop of the CPU kernel, and what it shares with the backward loop; imports Numba.

A task is one sequence and a block of channels. The rows of a chunk of tokens are copied to scratch
memory, vector by vector; then one state of the channels of a vector at a time walks along the
chunk, in registers. While it does, the rows that come next are asked for: rows of a block lie too
far apart for the processor to guess them.
"""

from typing import Any, no_type_check

import numpy as np
from numba import njit

from mlla.ops.selective_scan.tiles import BLOCK, CHUNK, num_tiles
from mlla.ops.simd.compiling import compiled, compiled_within
from mlla.ops.simd.exponential import LOG2_E, MILD, mild_power_of_two, power_of_two
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.team import sharing
from mlla.ops.simd.vectors import (
    LINE,
    broadcast,
    larger_size,
    largest_lane,
    load,
    prefetch,
    prefetch_for_writing,
    scratch,
    store,
    zeros,
)

LIMIT, ZERO = np.float32(MILD), np.float32(0)
# numbers of a chunk of one vector, and of a block: row i of vector k starts at k COLUMN + i LANES
COLUMN, ROWS = CHUNK * LANES, CHUNK * BLOCK
_STEP, _ENTER, _RESULT, _TOKEN_ROWS = (ROWS * index for index in range(4))

count_tiles = njit(num_tiles)


@njit
@no_type_check
def fill_rates(rates, A, g, start, channels):
    """Write the rates of a block for powers of two, (vectors, N, LANES); return the largest size.

    Those of missing channels are zero.
    """
    num_states = A.shape[2]
    rates[:] = ZERO
    largest = zeros()
    for n in range(num_states):
        for c in range(channels):
            at = (c // LANES * num_states + n) * LANES + c % LANES
            rates[at] = A[g, start + c, n] * LOG2_E
        for k in range(count_tiles(channels, LANES)):
            largest = larger_size(largest, load(rates, (k * num_states + n) * LANES))
    return largest_lane(largest)


@njit
@no_type_check
def copy_in(rows, column, array, offset, count, width, channels):
    """Copy `count` rows of a block, `width` apart, to vectors whose rows lie together.

    Args:
        rows: Where to, (vectors, column / LANES, LANES).
        column: Numbers between the first rows of two vectors.
        array: Where from.
        offset: Flat offset of the first row.
        count: Number of rows.
        width: Numbers between two rows.
        channels: Numbers of a row.
    """
    whole = channels // LANES
    flat = array.reshape(-1)
    for i in range(count):
        for k in range(whole):
            store(rows, k * column + i * LANES, load(flat, offset + i * width + k * LANES))
        for c in range(channels - whole * LANES):
            at = offset + i * width + whole * LANES + c
            rows[whole * column + i * LANES + c] = flat[at]


@njit
@no_type_check
def copy_out(array, offset, rows, column, count, width, channels):
    """Undo `copy_in`."""
    whole = channels // LANES
    flat = array.reshape(-1)
    for i in range(count):
        for k in range(whole):
            store(flat, offset + i * width + k * LANES, load(rows, k * column + i * LANES))
        for c in range(channels - whole * LANES):
            at = offset + i * width + whole * LANES + c
            flat[at] = rows[whole * column + i * LANES + c]


@njit
@no_type_check
def prefetch_rows(array, offset, n, num_states, width):
    """Ask for the n-th share of the rows of a chunk, one vector of each."""
    for i in range(n * CHUNK // num_states, (n + 1) * CHUNK // num_states):
        for line in range(0, LANES, LINE):
            prefetch(array, offset + i * width + line)


@njit
@no_type_check
def prefetch_rows_for_writing(array, offset, n, num_states, width):
    """Ask for the n-th share of the rows of a chunk, one vector of each, to write to them."""
    for i in range(n * CHUNK // num_states, (n + 1) * CHUNK // num_states):
        for line in range(0, LANES, LINE):
            prefetch_for_writing(array, offset + i * width + line)


def _walk_with(power: Any) -> Any:
    @njit
    @no_type_check
    def walk(tokens, column, rate, state, B, C, offset, num_states, count):
        for i in range(count):
            row = column + i * LANES
            enter = load(tokens, _ENTER + row) * broadcast(B, offset + i * num_states)
            state = power(load(tokens, _STEP + row), rate) * state + enter
            result = state * broadcast(C, offset + i * num_states)
            store(tokens, _RESULT + row, load(tokens, _RESULT + row) + result)
        return state

    return walk


_walk, _mild_walk = _walk_with(power_of_two), _walk_with(mild_power_of_two)


@compiled_within
@no_type_check
def _scan_forward(x, delta, A, B, C, D, y, states, first, last):
    """Write `y`, and `states` before every CHUNK tokens unless it is empty, for some tasks.

    Args:
        x: Tokens (B, G, L, D), as all arrays float32 and contiguous.
        delta: Steps (B, G, L, D).
        A: Rates (G, D, N).
        B: How tokens enter (B, G, L, N).
        C: How states are read (B, G, L, N).
        D: Weight of the token itself (G, D).
        y: Output (B, G, L, D).
        states: (B, G, chunks, N, D), or no chunks.
        first: First task; there are B * G * ceil(D / BLOCK).
        last: Task to stop before.
    """
    groups, length, width = x.shape[1:]
    num_states, num_blocks = A.shape[2], count_tiles(width, BLOCK)
    num_chunks = states.shape[2]
    tokens = scratch(_TOKEN_ROWS)
    rates, memory = scratch(num_states * BLOCK), scratch(num_states * BLOCK)
    skip = scratch(BLOCK)
    states_column = num_states * LANES
    for task in range(first, last):
        sequence, start = task // num_blocks, task % num_blocks * BLOCK
        g = sequence % groups
        channels = min(BLOCK, width - start)
        num_vectors = count_tiles(channels, LANES)
        memory[:] = ZERO
        tokens[:] = ZERO
        strongest = fill_rates(rates, A, g, start, channels)
        copy_in(skip, LANES, D, g * width + start, 1, width, channels)
        for begin in range(0, length, CHUNK):
            count = min(length - begin, CHUNK)
            token = sequence * length + begin
            at = token * width + start
            kept = (sequence * num_chunks + begin // CHUNK) * num_states * width + start
            if num_chunks > 0:
                copy_out(states, kept, memory, states_column, num_states, width, channels)
            copy_in(tokens[_STEP:], COLUMN, delta, at, count, width, channels)
            copy_in(tokens[_ENTER:], COLUMN, x, at, count, width, channels)
            longest = zeros()
            for k in range(num_vectors):
                for row in range(k * COLUMN, k * COLUMN + count * LANES, LANES):
                    step, value = load(tokens, _STEP + row), load(tokens, _ENTER + row)
                    longest = larger_size(longest, step)
                    store(tokens, _ENTER + row, step * value)
                    store(tokens, _RESULT + row, load(skip, k * LANES) * value)
            is_mild = largest_lane(longest) * strongest < LIMIT
            for k in range(num_vectors):
                for n in range(num_states):
                    ahead = at + k * LANES
                    prefetch_rows_for_writing(y, ahead, n, num_states, width)
                    ahead += CHUNK * width
                    prefetch_rows(x, ahead, n, num_states, width)
                    prefetch_rows(delta, ahead, n, num_states, width)
                    if num_chunks > 0:
                        ahead = kept + (num_states + n) * width + k * LANES
                        prefetch_for_writing(states, ahead)
                        prefetch_for_writing(states, ahead + LINE)
                    slot = (k * num_states + n) * LANES
                    rate, state = load(rates, slot), load(memory, slot)
                    offset = token * num_states + n
                    if is_mild:
                        state = _mild_walk(
                            tokens, k * COLUMN, rate, state, B, C, offset, num_states, count
                        )
                    else:
                        state = _walk(
                            tokens, k * COLUMN, rate, state, B, C, offset, num_states, count
                        )
                    store(memory, slot, state)
            copy_out(y, at, tokens[_RESULT:], COLUMN, count, width, channels)


_share_scan_forward = sharing(_scan_forward)


@compiled
@no_type_check
def scan_forward(team, *arguments):
    """Share `_scan_forward` among a team."""
    _share_scan_forward(team, arguments)
