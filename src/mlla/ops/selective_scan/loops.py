"""The loops of the CPU kernel, forward and backward; imports Numba.

A task is one sequence and a block of channels. The states of a block stay in the first-level
cache while the loop walks along the sequence, and the innermost loop runs over channels, which lie
side by side in memory. Scratch memory is one-dimensional with offsets that are constants, so that
the compiler sees that rows do not overlap and vectorises.
"""

from collections.abc import Callable
from typing import Any, no_type_check

import numpy as np
from numba import njit

from mlla.ops.selective_scan.exponential import power_of_two
from mlla.ops.selective_scan.tiles import BLOCK, CHUNK

# innermost loops run over whole bundles of channels, the missing ones being zero
_BUNDLE = 32
_LOG2_E = np.float32(1.4426950408889634)
_LN_2 = np.float32(0.6931471805599453)
_ZERO = np.float32(0)
# rows of one value per channel
_STEP, _ENTER, _RESULT, _TOKEN_ROWS = (BLOCK * index for index in range(4))
# rows of one value per channel, for every state
_RATE, _STATE, _STATE_ROWS = (BLOCK * index for index in range(3))
# the backward pass has more of both
_GRAD, _GRAD_ENTER, _GRAD_STEP, _GRAD_TOKEN_ROWS = (BLOCK * index for index in range(2, 6))
_GRAD_STATE, _GRAD_RATE, _GRAD_STATE_ROWS = (BLOCK * index for index in range(2, 5))


def _compiled(function: Callable[..., None]) -> Any:
    """Compile on the first call, and keep the result on disk where there is a place for it.

    Sums may be reordered, which lets them run in vectors; infinities and NaN are kept.
    """
    options = {
        "nogil": True,
        "error_model": "numpy",
        "fastmath": {"contract", "nsz", "reassoc"},
    }
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # neither the folder of this file nor the cache folder of the user can be written to
        return njit(**options)(function)


@_compiled
@no_type_check
def scan_forward(x, delta, A, B, C, D, y, states, first, last):
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
    num_states, num_blocks = A.shape[2], (width + BLOCK - 1) // BLOCK
    keeps_states = states.shape[2] > 0
    tokens = np.zeros((CHUNK, _TOKEN_ROWS), np.float32)
    memory = np.zeros((num_states, _STATE_ROWS), np.float32)
    for task in range(first, last):
        sequence, start = task // num_blocks, task % num_blocks * BLOCK
        b, g = sequence // groups, sequence % groups
        channels = min(BLOCK, width - start)
        bundled = (channels + _BUNDLE - 1) // _BUNDLE * _BUNDLE
        memory[:] = _ZERO
        tokens[:] = _ZERO
        for n in range(num_states):
            for c in range(channels):
                memory[n, _RATE + c] = A[g, start + c, n] * _LOG2_E
        for begin in range(0, length, CHUNK):
            count = min(length - begin, CHUNK)
            if keeps_states:
                for n in range(num_states):
                    for c in range(channels):
                        state = memory[n, _STATE + c]
                        states[b, g, begin // CHUNK, n, start + c] = state
            for i in range(count):
                t = begin + i
                for c in range(channels):
                    token, step = x[b, g, t, start + c], delta[b, g, t, start + c]
                    tokens[i, _STEP + c] = step
                    tokens[i, _ENTER + c] = step * token
                    tokens[i, _RESULT + c] = D[g, start + c] * token
            for i in range(count):
                t = begin + i
                for n in range(num_states):
                    enter, leave = B[b, g, t, n], C[b, g, t, n]
                    for c in range(bundled):
                        decay = power_of_two(tokens[i, _STEP + c] * memory[n, _RATE + c])
                        state = decay * memory[n, _STATE + c] + tokens[i, _ENTER + c] * enter
                        memory[n, _STATE + c] = state
                        tokens[i, _RESULT + c] += state * leave
            for i in range(count):
                t = begin + i
                for c in range(channels):
                    y[b, g, t, start + c] = tokens[i, _RESULT + c]


@_compiled
@no_type_check
def scan_backward(
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
    groups, length, width = x.shape[1:]
    num_states, num_parts = A.shape[2], grad_B.shape[0]
    num_blocks = (width + BLOCK - 1) // BLOCK
    tokens = np.zeros((CHUNK, _GRAD_TOKEN_ROWS), np.float32)
    memory = np.zeros((num_states, _GRAD_STATE_ROWS), np.float32)
    # states before every token of a chunk and after the last one
    decays = np.zeros((CHUNK, num_states, BLOCK), np.float32)
    history = np.zeros((CHUNK + 1, num_states, BLOCK), np.float32)
    grad_D_row = np.zeros(BLOCK, np.float32)
    for task in range(first, last):
        sequence, part = task // num_parts, task % num_parts
        b, g = sequence // groups, sequence % groups
        grad_B[part, b, g] = _ZERO
        grad_C[part, b, g] = _ZERO
        for block in range(num_blocks * part // num_parts, num_blocks * (part + 1) // num_parts):
            start = block * BLOCK
            channels = min(BLOCK, width - start)
            bundled = (channels + _BUNDLE - 1) // _BUNDLE * _BUNDLE
            memory[:] = _ZERO
            tokens[:] = _ZERO
            grad_D_row[:] = _ZERO
            history[:] = _ZERO
            for n in range(num_states):
                for c in range(channels):
                    memory[n, _RATE + c] = A[g, start + c, n] * _LOG2_E
            for chunk in range((length - 1) // CHUNK, -1, -1):
                begin = chunk * CHUNK
                count = min(length - begin, CHUNK)
                for n in range(num_states):
                    for c in range(channels):
                        state = states[b, g, chunk, n, start + c]
                        memory[n, _STATE + c] = state
                        history[0, n, c] = state
                for i in range(count):
                    t = begin + i
                    for c in range(channels):
                        step = delta[b, g, t, start + c]
                        tokens[i, _STEP + c] = step
                        tokens[i, _ENTER + c] = step * x[b, g, t, start + c]
                        tokens[i, _GRAD + c] = grad[b, g, t, start + c]
                        tokens[i, _GRAD_ENTER + c] = _ZERO
                        tokens[i, _GRAD_STEP + c] = _ZERO
                for i in range(count):
                    t = begin + i
                    for n in range(num_states):
                        enter = B[b, g, t, n]
                        for c in range(bundled):
                            decay = power_of_two(tokens[i, _STEP + c] * memory[n, _RATE + c])
                            state = decay * memory[n, _STATE + c] + tokens[i, _ENTER + c] * enter
                            memory[n, _STATE + c] = state
                            history[i + 1, n, c] = state
                            decays[i, n, c] = decay
                for back in range(count):
                    i = count - 1 - back
                    t = begin + i
                    for n in range(num_states):
                        enter, leave = B[b, g, t, n], C[b, g, t, n]
                        sum_enter, sum_leave = _ZERO, _ZERO
                        for c in range(bundled):
                            step, above = tokens[i, _STEP + c], tokens[i, _GRAD + c]
                            rate = memory[n, _RATE + c]
                            grad_state = memory[n, _GRAD_STATE + c] + above * leave
                            passed = grad_state * decays[i, n, c]
                            grad_exponent = passed * history[i, n, c]
                            memory[n, _GRAD_STATE + c] = passed
                            memory[n, _GRAD_RATE + c] += grad_exponent * step
                            tokens[i, _GRAD_STEP + c] += grad_exponent * rate
                            tokens[i, _GRAD_ENTER + c] += grad_state * enter
                            sum_enter += grad_state * tokens[i, _ENTER + c]
                            sum_leave += above * history[i + 1, n, c]
                        grad_B[part, b, g, t, n] += sum_enter
                        grad_C[part, b, g, t, n] += sum_leave
                for i in range(count):
                    t = begin + i
                    for c in range(channels):
                        token, above = x[b, g, t, start + c], tokens[i, _GRAD + c]
                        grad_enter = tokens[i, _GRAD_ENTER + c]
                        grad_x[b, g, t, start + c] = (
                            grad_enter * tokens[i, _STEP + c] + D[g, start + c] * above
                        )
                        grad_delta[b, g, t, start + c] = (
                            tokens[i, _GRAD_STEP + c] * _LN_2 + grad_enter * token
                        )
                        grad_D_row[c] += above * token
            for c in range(channels):
                grad_D[b, g, start + c] = grad_D_row[c]
                for n in range(num_states):
                    grad_A[b, g, start + c, n] = memory[n, _GRAD_RATE + c]
