"""The selective scan for GPUs, in Triton: what one program does; imports Triton.

Sequences are cut into chunks, which programs run through side by side: first each from a state of
zero, then, when `join_chunks` knows the states between them, from the right one. A program holds a
tile of TOKENS x CHANNELS and takes one state after the other; the tokens of a tile are scanned by
`tl.associative_scan`. Decays are only multiplied with each other, never divided by.

Tokens behind the end of a sequence have steps of zero: they keep the state as it is.
"""

from typing import no_type_check

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
@no_type_check
def _followed_by(decay, state, next_decay, next_state):
    """Join what two neighbouring pieces do to a state: multiply it, and add to it."""
    return decay * next_decay, state * next_decay + next_state


@triton.jit
@no_type_check
def _place(length, width, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    """Return tokens and channels of this program, and the flat offsets of its first of both."""
    chunk, block, sequence = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    tokens = chunk * TOKENS + tl.arange(0, TOKENS)
    channels = block * CHANNELS + tl.arange(0, CHANNELS)
    kept = sequence * tl.num_programs(0) + chunk
    return tokens, channels, sequence * length, kept


@triton.jit
@no_type_check
def _load_tile(pointer, sequence, tokens, channels, length, width):
    """Read tokens x channels as float32, zero outside of the sequence."""
    inside = ((tokens >= 0) & (tokens < length))[:, None] & (channels < width)[None, :]
    offsets = (sequence + tokens)[:, None] * width + channels[None, :]
    return tl.load(pointer + offsets, mask=inside, other=0).to(tl.float32)


@triton.jit
@no_type_check
def _load_column(pointer, sequence, tokens, n, length, num_states):
    """Read what every token has for one state, as a column."""
    inside = (tokens >= 0) & (tokens < length)
    offsets = (sequence + tokens) * num_states + n
    return tl.load(pointer + offsets, mask=inside, other=0).to(tl.float32)[:, None]


@triton.jit
@no_type_check
def _load_rates(A, groups, channels, n, width, num_states):
    """Read the rates of one state as a row, times log2(e)."""
    g = tl.program_id(2) % groups
    offsets = (g * width + channels) * num_states + n
    rates = tl.load(A + offsets, mask=channels < width, other=0).to(tl.float32)
    return rates[None, :] * _LOG2_E


@triton.jit
@no_type_check
def leave_chunks(
    values, delta, A, columns, left, steps, groups, length, width, num_states,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Write the state that each chunk leaves behind, from zero, and the sum of its steps.

    Or, with REVERSE, the gradient that each chunk passes to the state before it, from zero behind.

    Args:
        values: Tokens, or the gradient of the output (B * G, L, D), float32 or shorter, and so are
            the next three.
        delta: Steps (B * G, L, D).
        A: Rates (G, D, N).
        columns: How tokens enter, or how states are read (B * G, L, N).
        left: (B * G, chunks, N, D), float32.
        steps: (B * G, chunks, D), float32.
        groups: G.
        length: L.
        width: D.
        num_states: N.
        TOKENS: Tokens of a chunk, a power of two.
        CHANNELS: Channels of a program, a power of two.
        REVERSE: Whether the last token comes first.
    """
    tokens, channels, sequence, kept = _place(length, width, TOKENS, CHANNELS)
    is_end = (tl.arange(0, TOKENS) == (0 if REVERSE else TOKENS - 1))[:, None]
    step = _load_tile(delta, sequence, tokens, channels, length, width)
    value = _load_tile(values, sequence, tokens, channels, length, width)
    inside = channels < width
    tl.store(steps + kept * width + channels, tl.sum(step, 0), mask=inside)
    for n in range(num_states):
        decay = tl.exp2(step * _load_rates(A, groups, channels, n, width, num_states))
        # a token enters with its step; what it passes back, its decay takes a share of
        weight = decay if REVERSE else step
        column = _load_column(columns, sequence, tokens, n, length, num_states)
        entering = weight * value * column
        _, state = tl.associative_scan((decay, entering), 0, _followed_by, reverse=REVERSE)
        end = tl.sum(tl.where(is_end, state, 0.0), 0)
        tl.store(left + (kept * num_states + n) * width + channels, end, mask=inside)


@triton.jit
@no_type_check
def join_chunks(
    left, steps, A, states, groups, chunks, width, num_states,
    CHUNKS: tl.constexpr, CHANNELS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """Write the state before each chunk, or with REVERSE the gradient of that behind it.

    Args:
        left: What each chunk leaves behind, (B * G, chunks, N, D).
        steps: Sum of the steps of each chunk, (B * G, chunks, D).
        A: Rates (G, D, N).
        states: Output (B * G, chunks, N, D); zero for the first chunk that has none before it.
        groups: G.
        chunks: Number of chunks.
        width: D.
        num_states: N.
        CHUNKS: Chunks that are joined at once, a power of two.
        CHANNELS: Channels of a program.
        REVERSE: Whether the last chunk comes first.
    """
    n = tl.program_id(0)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    sequence = tl.program_id(2).to(tl.int64) * chunks
    inside = (channels < width)[None, :]
    rates = _load_rates(A, groups, channels, n, width, num_states)
    rows = tl.arange(0, CHUNKS)
    carried = tl.zeros((1, CHANNELS), tl.float32)
    for begin in range(0, chunks, CHUNKS):
        place = begin + rows
        chunk = chunks - 1 - place if REVERSE else place
        is_chunk = (place < chunks)[:, None] & inside
        row = (sequence + chunk)[:, None]
        step = tl.load(steps + row * width + channels[None, :], mask=is_chunk, other=0)
        offsets = (row * num_states + n) * width + channels[None, :]
        leaving = tl.load(left + offsets, mask=is_chunk, other=0)
        decay = tl.exp2(step * rates)
        leaving += tl.where((rows == 0)[:, None], decay * carried, 0.0)
        _, state = tl.associative_scan((decay, leaving), 0, _followed_by)
        # each state is that before the next chunk
        following = (num_states if not REVERSE else -num_states) * width
        has_next = is_chunk & (place < chunks - 1)[:, None]
        tl.store(states + offsets + following, state, mask=has_next)
        carried = tl.sum(tl.where((rows == CHUNKS - 1)[:, None], state, 0.0), 0)[None, :]


@triton.jit
@no_type_check
def read_states(
    x, delta, A, B, C, D, states, y, groups, length, width, num_states,
    TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the output of each chunk.

    Args:
        x: Tokens (B * G, L, D), float32 or shorter, and so are the next five.
        delta: Steps (B * G, L, D).
        A: Rates (G, D, N).
        B: How tokens enter (B * G, L, N).
        C: How states are read (B * G, L, N).
        D: Weight of the token itself (G, D).
        states: State before each chunk (B * G, chunks, N, D), float32.
        y: Output (B * G, L, D).
        groups: G.
        length: L.
        width: D.
        num_states: N.
        TOKENS: Tokens of a chunk.
        CHANNELS: Channels of a program.
    """
    tokens, channels, sequence, kept = _place(length, width, TOKENS, CHANNELS)
    is_first = (tl.arange(0, TOKENS) == 0)[:, None]
    inside = channels < width
    step = _load_tile(delta, sequence, tokens, channels, length, width)
    token = _load_tile(x, sequence, tokens, channels, length, width)
    g = tl.program_id(2) % groups
    skip = tl.load(D + g * width + channels, mask=inside, other=0).to(tl.float32)
    result = skip[None, :] * token
    for n in range(num_states):
        decay = tl.exp2(step * _load_rates(A, groups, channels, n, width, num_states))
        entering = step * token * _load_column(B, sequence, tokens, n, length, num_states)
        offsets = (kept * num_states + n) * width + channels
        before = tl.load(states + offsets, mask=inside, other=0)[None, :]
        entering += tl.where(is_first, decay * before, 0.0)
        _, state = tl.associative_scan((decay, entering), 0, _followed_by)
        result += state * _load_column(C, sequence, tokens, n, length, num_states)
    offsets = (sequence + tokens)[:, None] * width + channels[None, :]
    tl.store(y + offsets, result, mask=(tokens < length)[:, None] & inside[None, :])


@triton.jit
@no_type_check
def read_states_backward(
    grad, x, delta, A, B, C, D, states, passed, grad_x, grad_delta, grad_A, grad_B, grad_C, grad_D,
    groups, length, width, num_states, TOKENS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Write the gradients that come from each chunk.

    Args:
        grad: Gradient of the output (B * G, L, D).
        x: As in `read_states`, and so are the next five.
        delta: See there.
        A: See there.
        B: See there.
        C: See there.
        D: See there.
        states: State before each chunk (B * G, chunks, N, D), float32.
        passed: Gradient of the state behind each chunk, of the same shape.
        grad_x: (B * G, L, D).
        grad_delta: (B * G, L, D).
        grad_A: Of every chunk by itself (B * G, chunks, N, D), float32.
        grad_B: Of every block of channels by itself (blocks, B * G, L, N), float32.
        grad_C: Likewise.
        grad_D: Of every chunk by itself (B * G, chunks, D), float32.
        groups: G.
        length: L.
        width: D.
        num_states: N.
        TOKENS: Tokens of a chunk.
        CHANNELS: Channels of a program.
    """
    tokens, channels, sequence, kept = _place(length, width, TOKENS, CHANNELS)
    is_first = (tl.arange(0, TOKENS) == 0)[:, None]
    is_last = (tl.arange(0, TOKENS) == TOKENS - 1)[:, None]
    inside = channels < width
    step = _load_tile(delta, sequence, tokens, channels, length, width)
    token = _load_tile(x, sequence, tokens, channels, length, width)
    above = _load_tile(grad, sequence, tokens, channels, length, width)
    # the same of the neighbours, of which those outside of the chunk are replaced below
    step_before = _load_tile(delta, sequence, tokens - 1, channels, length, width)
    step_behind = _load_tile(delta, sequence, tokens + 1, channels, length, width)
    token_before = _load_tile(x, sequence, tokens - 1, channels, length, width)
    grad_enter = tl.zeros_like(step)
    grad_step = tl.zeros_like(step)
    block = tl.program_id(1).to(tl.int64) * tl.num_programs(2) * length
    is_token = tokens < length
    for n in range(num_states):
        rates = _load_rates(A, groups, channels, n, width, num_states)
        enter = _load_column(B, sequence, tokens, n, length, num_states)
        enter_before = _load_column(B, sequence, tokens - 1, n, length, num_states)
        leave = _load_column(C, sequence, tokens, n, length, num_states)
        decay = tl.exp2(step * rates)
        slot = (kept * num_states + n) * width + channels
        # states before every token, and gradients of those after it
        first = tl.load(states + slot, mask=inside, other=0)[None, :]
        entered = tl.where(is_first, first, step_before * token_before * enter_before)
        _, before = tl.associative_scan((tl.exp2(step_before * rates), entered), 0, _followed_by)
        last = tl.load(passed + slot, mask=inside, other=0)[None, :]
        above_state = above * leave + tl.where(is_last, last, 0.0)
        _, grad_state = tl.associative_scan(
            (tl.exp2(step_behind * rates), above_state), 0, _followed_by, reverse=True
        )
        state = decay * before + step * token * enter
        grad_exponent = grad_state * decay * before
        grad_step += grad_exponent * (rates / _LOG2_E)
        grad_enter += grad_state * enter
        tl.store(grad_A + slot, tl.sum(grad_exponent * step, 0), mask=inside)
        offsets = (block + sequence + tokens) * num_states + n
        tl.store(grad_B + offsets, tl.sum(grad_state * step * token, 1), mask=is_token)
        tl.store(grad_C + offsets, tl.sum(above * state, 1), mask=is_token)
    g = tl.program_id(2) % groups
    skip = tl.load(D + g * width + channels, mask=inside, other=0).to(tl.float32)[None, :]
    offsets = (sequence + tokens)[:, None] * width + channels[None, :]
    is_inside = is_token[:, None] & inside[None, :]
    tl.store(grad_x + offsets, grad_enter * step + skip * above, mask=is_inside)
    tl.store(grad_delta + offsets, grad_step + grad_enter * token, mask=is_inside)
    tl.store(grad_D + kept * width + channels, tl.sum(above * token, 0), mask=inside)
