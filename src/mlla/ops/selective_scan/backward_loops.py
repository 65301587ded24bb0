"""The backward loop of the CPU kernel; imports Numba.

As in the forward loop, one state of the channels of a vector at a time walks along a chunk, there
and back: on the way there its decays and states are written down, since they fit into the
first-level cache for one state, and not for all.
"""

from typing import Any, no_type_check

import numpy as np
from numba import njit

from mlla.ops.selective_scan.loops import (
    COLUMN,
    LIMIT,
    ROWS,
    ZERO,
    copy_in,
    copy_out,
    count_tiles,
    fill_rates,
    prefetch_rows,
    prefetch_rows_for_writing,
)
from mlla.ops.selective_scan.tiles import BLOCK, CHUNK
from mlla.ops.simd.compiling import compiled, compiled_within
from mlla.ops.simd.exponential import mild_power_of_two, power_of_two
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.team import sharing
from mlla.ops.simd.vectors import (
    LINE,
    broadcast,
    larger_size,
    largest_lane,
    load,
    prefetch,
    scratch,
    store,
    sum_of_lanes,
    zeros,
)

_LN_2 = np.float32(0.6931471805599453)
# one value per token and channel
_STEP, _ENTER, _ABOVE, _GRAD_ENTER, _GRAD_STEP, _TOKEN_ROWS = (ROWS * index for index in range(6))
# of one state and vector: decays, and states before every token and after the last one
_DECAY, _STATE, _HISTORY_ROWS = 0, COLUMN, 2 * COLUMN + LANES
# of one state: what every channel adds to the gradients of B and C
_SUM_B, _SUM_C, _SUM_ROWS = 0, COLUMN, 2 * COLUMN


def _walk_with(power: Any) -> Any:
    @njit
    @no_type_check
    def walk(history, tokens, column, rate, state, B, offset, num_states, count):
        store(history, _STATE, state)
        for i in range(count):
            row = column + i * LANES
            enter = load(tokens, _ENTER + row) * broadcast(B, offset + i * num_states)
            decay = power(load(tokens, _STEP + row), rate)
            state = decay * state + enter
            store(history, _DECAY + i * LANES, decay)
            store(history, _STATE + (i + 1) * LANES, state)

    return walk


_walk, _mild_walk = _walk_with(power_of_two), _walk_with(mild_power_of_two)


@njit
@no_type_check
def _walk_back(
    history, tokens, column, sums, rate, grad_state, grad_rate, B, C, offset, num_states, count
):
    for back in range(count):
        i = count - 1 - back
        row = column + i * LANES
        above = load(tokens, _ABOVE + row)
        grad_state = grad_state + above * broadcast(C, offset + i * num_states)
        at = _GRAD_ENTER + row
        store(tokens, at, load(tokens, at) + grad_state * broadcast(B, offset + i * num_states))
        at = _SUM_B + i * LANES
        store(sums, at, load(sums, at) + grad_state * load(tokens, _ENTER + row))
        at = _SUM_C + i * LANES
        store(sums, at, load(sums, at) + above * load(history, _STATE + (i + 1) * LANES))
        grad_state = grad_state * load(history, _DECAY + i * LANES)
        grad_exponent = grad_state * load(history, _STATE + i * LANES)
        grad_rate = grad_rate + grad_exponent * load(tokens, _STEP + row)
        at = _GRAD_STEP + row
        store(tokens, at, load(tokens, at) + grad_exponent * rate)
    return grad_state, grad_rate


@compiled_within
@no_type_check
def _scan_backward(
    grad, x, delta, A, B, C, D, states, grad_x, grad_delta, grad_A, grad_B, grad_C, grad_D,
    first, last,
):  # fmt: skip
    """Write the gradients of some tasks, which share no memory, so that sums have one order.

    Args:
        grad: Gradient of the output (B, G, L, D), as all arrays float32 and contiguous.
        x: As in `scan_forward`, and so are the next five.
        delta: See there.
        A: See there.
        B: See there.
        C: See there.
        D: See there.
        states: (B, G, chunks, N, D), written by `scan_forward`.
        grad_x: (B, G, L, D).
        grad_delta: (B, G, L, D).
        grad_A: Of every sample by itself (B, G, D, N).
        grad_B: Of every part of the channels by itself (P, B, G, L, N).
        grad_C: Likewise.
        grad_D: Of every sample by itself (B, G, D).
        first: First task; there are B * G * P.
        last: Task to stop before.
    """
    batch, groups, length, width = x.shape
    num_states, num_parts = A.shape[2], grad_B.shape[0]
    num_blocks, num_chunks = count_tiles(width, BLOCK), count_tiles(length, CHUNK)
    tokens, history, sums = scratch(_TOKEN_ROWS), scratch(_HISTORY_ROWS), scratch(_SUM_ROWS)
    rates, memory = scratch(num_states * BLOCK), scratch(num_states * BLOCK)
    grad_memory, grad_rates = scratch(num_states * BLOCK), scratch(num_states * BLOCK)
    skip, grad_skip, ln_2 = scratch(BLOCK), scratch(BLOCK), scratch(1)
    ln_2[0] = _LN_2
    states_column = num_states * LANES
    flat_grad_B, flat_grad_C = grad_B.reshape(-1), grad_C.reshape(-1)
    for task in range(first, last):
        sequence, part = task // num_parts, task % num_parts
        b, g = sequence // groups, sequence % groups
        grad_B[part, b, g] = ZERO
        grad_C[part, b, g] = ZERO
        for block in range(num_blocks * part // num_parts, num_blocks * (part + 1) // num_parts):
            start = block * BLOCK
            channels = min(BLOCK, width - start)
            num_vectors = count_tiles(channels, LANES)
            for zeroed in (tokens, grad_memory, grad_rates, grad_skip):
                zeroed[:] = ZERO
            strongest = fill_rates(rates, A, g, start, channels)
            copy_in(skip, LANES, D, g * width + start, 1, width, channels)
            for chunk in range(num_chunks - 1, -1, -1):
                begin = chunk * CHUNK
                count = min(length - begin, CHUNK)
                token = sequence * length + begin
                at = token * width + start
                kept = (sequence * num_chunks + chunk) * num_states * width + start
                copy_in(memory, states_column, states, kept, num_states, width, channels)
                copy_in(tokens[_STEP:], COLUMN, delta, at, count, width, channels)
                copy_in(tokens[_ENTER:], COLUMN, x, at, count, width, channels)
                copy_in(tokens[_ABOVE:], COLUMN, grad, at, count, width, channels)
                longest = zeros()
                for k in range(num_vectors):
                    for row in range(k * COLUMN, k * COLUMN + count * LANES, LANES):
                        step = load(tokens, _STEP + row)
                        longest = larger_size(longest, step)
                        store(tokens, _ENTER + row, step * load(tokens, _ENTER + row))
                        store(tokens, _GRAD_ENTER + row, zeros())
                        store(tokens, _GRAD_STEP + row, zeros())
                is_mild = largest_lane(longest) * strongest < LIMIT
                for n in range(num_states):
                    offset = token * num_states + n
                    sums[:] = ZERO
                    for k in range(num_vectors):
                        ahead = at + k * LANES
                        prefetch_rows_for_writing(grad_x, ahead, n, num_states, width)
                        prefetch_rows_for_writing(grad_delta, ahead, n, num_states, width)
                        ahead -= CHUNK * width
                        prefetch_rows(grad, ahead, n, num_states, width)
                        prefetch_rows(x, ahead, n, num_states, width)
                        prefetch_rows(delta, ahead, n, num_states, width)
                        ahead = kept - (num_states - n) * width + k * LANES
                        prefetch(states, ahead)
                        prefetch(states, ahead + LINE)
                        slot, column = (k * num_states + n) * LANES, k * COLUMN
                        rate, state = load(rates, slot), load(memory, slot)
                        if is_mild:
                            _mild_walk(
                                history, tokens, column, rate, state, B, offset, num_states, count
                            )
                        else:
                            _walk(
                                history, tokens, column, rate, state, B, offset, num_states, count
                            )
                        grad_state, grad_rate = _walk_back(
                            *(history, tokens, column, sums, rate),
                            *(load(grad_memory, slot), load(grad_rates, slot)),
                            *(B, C, offset, num_states, count),
                        )
                        store(grad_memory, slot, grad_state)
                        store(grad_rates, slot, grad_rate)
                    to = (part * batch * groups * length + token) * num_states + n
                    for i in range(count):
                        sum_B, sum_C = load(sums, i * LANES), load(sums, _SUM_C + i * LANES)
                        flat_grad_B[to + i * num_states] += sum_of_lanes(sum_B)
                        flat_grad_C[to + i * num_states] += sum_of_lanes(sum_C)
                copy_in(tokens[_ENTER:], COLUMN, x, at, count, width, channels)
                for k in range(num_vectors):
                    weight, total = load(skip, k * LANES), load(grad_skip, k * LANES)
                    for row in range(k * COLUMN, k * COLUMN + count * LANES, LANES):
                        step, value = load(tokens, _STEP + row), load(tokens, _ENTER + row)
                        above, grad_enter = (
                            load(tokens, _ABOVE + row),
                            load(tokens, _GRAD_ENTER + row),
                        )
                        grad_step = load(tokens, _GRAD_STEP + row) * broadcast(ln_2, 0)
                        total = total + above * value
                        store(tokens, _GRAD_ENTER + row, grad_enter * step + weight * above)
                        store(tokens, _GRAD_STEP + row, grad_step + grad_enter * value)
                    store(grad_skip, k * LANES, total)
                copy_out(grad_x, at, tokens[_GRAD_ENTER:], COLUMN, count, width, channels)
                copy_out(grad_delta, at, tokens[_GRAD_STEP:], COLUMN, count, width, channels)
            copy_out(grad_D, sequence * width + start, grad_skip, LANES, 1, width, channels)
            for c in range(channels):
                for n in range(num_states):
                    at = (c // LANES * num_states + n) * LANES + c % LANES
                    grad_A[b, g, start + c, n] = grad_rates[at]


_share_scan_backward = sharing(_scan_backward)


@compiled
@no_type_check
def scan_backward(team, *arguments):
    """Share `_scan_backward` among a team."""
    _share_scan_backward(team, arguments)
