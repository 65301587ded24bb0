# mypy: ignore-errors
# ruff: noqa: N803  (what is known when a kernel is compiled has the names of constants)
"""Linear attention from a projection on a GPU: the equations of by_samples.py in four kernels.

A program works on one head of one sample. Channels that turn together are loaded as two blocks,
of even and of odd channels. Sums over tokens are written by part and added in one order, so that
results do not change from run to run.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mlla.ops.rotary import axis_rotations

# programs that keep every processor of a large GPU busy
_PROGRAMS = 512


@triton.jit
def _places(token, num_tokens, group, num_heads, HEAD: tl.constexpr, HALF: tl.constexpr):
    """Return the pairs of channels, which exist, and the row of the sample and token."""
    lane = tl.arange(0, HALF)
    inside = (token < num_tokens)[:, None] & (lane < HEAD // 2)[None, :]
    row = (group // num_heads).to(tl.int64) * num_tokens + token
    return (group % num_heads) * HEAD + 2 * lane, inside, row


@triton.jit
def _turns(cos, sin, token, channel, inside, width, channels):
    """Load cosines and sines: of the row for the first half of all channels, else the column."""
    pair = channel // 2
    quarter = channels // 4
    is_row = (pair < quarter)[None, :]
    place = tl.where(is_row, (token // width)[:, None], (token % width)[:, None])
    index = place * quarter + (pair % quarter)[None, :]
    return tl.load(cos + index, mask=inside, other=0.0), tl.load(sin + index, inside, other=0.0)


@triton.jit
def _features(pointer, index, inside):
    """Load and apply ELU + 1."""
    raw = tl.load(pointer + index, mask=inside, other=0.0).to(tl.float32)
    positive = tl.exp(tl.minimum(raw, 0.0)) + tl.maximum(raw, 0.0)
    return tl.where(inside, positive, 0.0)


@triton.jit
def _values(
    pointer, row, token, num_tokens, group, num_heads, HEAD: tl.constexpr, WIDE: tl.constexpr
):
    """Return the values of one head (tokens, WIDE), their index and which exist."""
    lane = tl.arange(0, WIDE)
    inside = (token < num_tokens)[:, None] & (lane < HEAD)[None, :]
    index = row[:, None] * (num_heads * HEAD) + ((group % num_heads) * HEAD + lane)[None, :]
    return tl.load(pointer + index, mask=inside, other=0.0).to(tl.float32), index, inside


@triton.jit
def _half(group, odd, HEAD: tl.constexpr, HALF: tl.constexpr):
    """Return where the even or odd rows of a head lie in vectors and squares, and which exist."""
    row = 2 * tl.arange(0, HALF) + odd
    column = tl.arange(0, 2 * HALF)
    inside = row < HEAD
    square = (group * HEAD + row).to(tl.int64)[:, None] * HEAD + column[None, :]
    return group * HEAD + row, inside, square, inside[:, None] & (column < HEAD)[None, :]


@triton.jit
def _load_half(squares, vectors, group, odd, HEAD: tl.constexpr, HALF: tl.constexpr):
    """Load the even or odd rows of the square of a head, and those of its vector as a row."""
    vector, inside, square, is_square = _half(group, odd, HEAD, HALF)
    loaded = tl.load(vectors + vector, mask=inside, other=0.0)[None, :]
    return tl.load(squares + square, mask=is_square, other=0.0), loaded


@triton.jit
def _store_half(
    squares, vectors, products, totals, group, odd, HEAD: tl.constexpr, HALF: tl.constexpr
):
    """Store the even or odd rows of the square and of the vector of a head."""
    vector, inside, square, is_square = _half(group, odd, HEAD, HALF)
    tl.store(squares + square, products, mask=is_square)
    tl.store(vectors + vector, totals, mask=inside)


@triton.jit
def _sum_keys(
    query_key, value, cos, sin, key_value, mean_key, num_tokens, width, num_heads, tiles,
    HEAD: tl.constexpr, HALF: tl.constexpr, TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Sum key times value, and keys, over the tiles of one part of the tokens."""
    group, part = tl.program_id(0), tl.program_id(1)
    channels = num_heads * HEAD
    products_even = tl.zeros((HALF, 2 * HALF), tl.float32)
    products_odd = tl.zeros((HALF, 2 * HALF), tl.float32)
    total_even = tl.zeros((HALF,), tl.float32)
    total_odd = tl.zeros((HALF,), tl.float32)
    for tile in range(tiles):
        token = (part * tiles + tile) * TOKENS + tl.arange(0, TOKENS)
        channel, inside, row = _places(token, num_tokens, group, num_heads, HEAD, HALF)
        c, s = _turns(cos, sin, token, channel, inside, width, channels)
        index = row[:, None] * (2 * channels) + channels + channel[None, :]
        even = _features(query_key, index, inside)
        odd = _features(query_key, index + 1, inside)
        values, _, _ = _values(value, row, token, num_tokens, group, num_heads, HEAD, 2 * HALF)
        turned_even, turned_odd = even * c - odd * s, even * s + odd * c
        products_even += tl.dot(tl.trans(turned_even), values, input_precision=PRECISION)
        products_odd += tl.dot(tl.trans(turned_odd), values, input_precision=PRECISION)
        total_even += tl.sum(even, 0)
        total_odd += tl.sum(odd, 0)
    target = part * tl.num_programs(0) + group
    _store_half(key_value, mean_key, products_even, total_even, target, 0, HEAD, HALF)
    _store_half(key_value, mean_key, products_odd, total_odd, target, 1, HEAD, HALF)


@triton.jit
def _read_queries(
    query_key, value, cos, sin, key_value, mean_key, output, num_tokens, width, num_heads, eps,
    HEAD: tl.constexpr, HALF: tl.constexpr, TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the output of one tile of tokens."""
    group = tl.program_id(0)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    channels = num_heads * HEAD
    channel, inside, row = _places(token, num_tokens, group, num_heads, HEAD, HALF)
    c, s = _turns(cos, sin, token, channel, inside, width, channels)
    index = row[:, None] * (2 * channels) + channel[None, :]
    even = _features(query_key, index, inside)
    odd = _features(query_key, index + 1, inside)
    square, mean = _load_half(key_value, mean_key, group, 0, HEAD, HALF)
    normaliser = tl.sum(even * mean, 1)
    attended = tl.dot(even * c - odd * s, square, input_precision=PRECISION)
    square, mean = _load_half(key_value, mean_key, group, 1, HEAD, HALF)
    normaliser += tl.sum(odd * mean, 1)
    attended += tl.dot(even * s + odd * c, square, input_precision=PRECISION)
    attended = attended / (normaliser + eps)[:, None]
    _, index, exists = _values(value, row, token, num_tokens, group, num_heads, HEAD, 2 * HALF)
    tl.store(output + index, attended.to(output.dtype.element_ty), mask=exists)


@triton.jit
def _query_gradients(
    grad, query_key, cos, sin, key_value, mean_key, grad_query_key, grad_key_value, grad_mean_key,
    num_tokens, width, num_heads, eps, tiles,
    HEAD: tl.constexpr, HALF: tl.constexpr, TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of queries; sum those of both means over one part of the tokens."""
    group, part = tl.program_id(0), tl.program_id(1)
    channels = num_heads * HEAD
    square_even, mean_even = _load_half(key_value, mean_key, group, 0, HEAD, HALF)
    square_odd, mean_odd = _load_half(key_value, mean_key, group, 1, HEAD, HALF)
    square_even, square_odd = tl.trans(square_even), tl.trans(square_odd)
    products_even = tl.zeros((HALF, 2 * HALF), tl.float32)
    products_odd = tl.zeros((HALF, 2 * HALF), tl.float32)
    total_even = tl.zeros((HALF,), tl.float32)
    total_odd = tl.zeros((HALF,), tl.float32)
    for tile in range(tiles):
        token = (part * tiles + tile) * TOKENS + tl.arange(0, TOKENS)
        channel, inside, row = _places(token, num_tokens, group, num_heads, HEAD, HALF)
        c, s = _turns(cos, sin, token, channel, inside, width, channels)
        index = row[:, None] * (2 * channels) + channel[None, :]
        even = _features(query_key, index, inside)
        odd = _features(query_key, index + 1, inside)
        normaliser = tl.sum(even * mean_even + odd * mean_odd, 1) + eps
        above, _, _ = _values(grad, row, token, num_tokens, group, num_heads, HEAD, 2 * HALF)
        above = above / normaliser[:, None]
        turned_even, turned_odd = even * c - odd * s, even * s + odd * c
        products_even += tl.dot(tl.trans(turned_even), above, input_precision=PRECISION)
        products_odd += tl.dot(tl.trans(turned_odd), above, input_precision=PRECISION)
        grad_even = tl.dot(above, square_even, input_precision=PRECISION)
        grad_odd = tl.dot(above, square_odd, input_precision=PRECISION)
        grad_normaliser = -tl.sum(grad_even * turned_even + grad_odd * turned_odd, 1) / normaliser
        total_even += tl.sum(grad_normaliser[:, None] * even, 0)
        total_odd += tl.sum(grad_normaliser[:, None] * odd, 0)
        back_even = grad_even * c + grad_odd * s + grad_normaliser[:, None] * mean_even
        back_odd = grad_odd * c - grad_even * s + grad_normaliser[:, None] * mean_odd
        kind = grad_query_key.dtype.element_ty
        tl.store(grad_query_key + index, (back_even * tl.minimum(even, 1.0)).to(kind), mask=inside)
        tl.store(grad_query_key + index + 1, (back_odd * tl.minimum(odd, 1.0)).to(kind), inside)
    target = part * tl.num_programs(0) + group
    _store_half(grad_key_value, grad_mean_key, products_even, total_even, target, 0, HEAD, HALF)
    _store_half(grad_key_value, grad_mean_key, products_odd, total_odd, target, 1, HEAD, HALF)


@triton.jit
def _key_gradients(
    query_key, value, cos, sin, grad_key_value, grad_mean_key, grad_query_key, grad_value,
    num_tokens, width, num_heads,
    HEAD: tl.constexpr, HALF: tl.constexpr, TOKENS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the gradients of keys and values of one tile; those of the means are over N already."""
    group = tl.program_id(0)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    channels = num_heads * HEAD
    channel, inside, row = _places(token, num_tokens, group, num_heads, HEAD, HALF)
    c, s = _turns(cos, sin, token, channel, inside, width, channels)
    key = row[:, None] * (2 * channels) + channels + channel[None, :]
    even = _features(query_key, key, inside)
    odd = _features(query_key, key + 1, inside)
    values, place, exists = _values(value, row, token, num_tokens, group, num_heads, HEAD, 2 * HALF)
    square, total_even = _load_half(grad_key_value, grad_mean_key, group, 0, HEAD, HALF)
    grad_values = tl.dot(even * c - odd * s, square, input_precision=PRECISION)
    grad_even = tl.dot(values, tl.trans(square), input_precision=PRECISION)
    square, total_odd = _load_half(grad_key_value, grad_mean_key, group, 1, HEAD, HALF)
    grad_values += tl.dot(even * s + odd * c, square, input_precision=PRECISION)
    grad_odd = tl.dot(values, tl.trans(square), input_precision=PRECISION)
    tl.store(grad_value + place, grad_values.to(grad_value.dtype.element_ty), mask=exists)
    kind = grad_query_key.dtype.element_ty
    back = (grad_even * c + grad_odd * s + total_even) * tl.minimum(even, 1.0)
    tl.store(grad_query_key + key, back.to(kind), mask=inside)
    back = (grad_odd * c - grad_even * s + total_odd) * tl.minimum(odd, 1.0)
    tl.store(grad_query_key + key + 1, back.to(kind), mask=inside)


class _Launch:
    """Sizes of blocks and grids, and the angles, for values of one shape."""

    def __init__(self, value: Tensor, num_heads: int) -> None:
        batch, height, width, channels = value.shape
        self.head = channels // num_heads
        half = max(16, triton.next_power_of_2(self.head // 2))
        tokens = 64 if half <= 16 else 32
        self.num_tokens, self.groups = height * width, batch * num_heads
        self.num_tiles = triton.cdiv(self.num_tokens, tokens)
        wanted = min(self.num_tiles, triton.cdiv(_PROGRAMS, max(1, self.groups)))
        self.tiles = triton.cdiv(self.num_tiles, wanted)
        self.parts = triton.cdiv(self.num_tiles, self.tiles)
        side = max(height, width)
        turns = axis_rotations(side, channels // 4, value.device, torch.float32)
        self.turns = (turns.real.contiguous(), turns.imag.contiguous())
        # float32 values keep their precision; for others, that of the products exceeds their own
        precision = "ieee" if value.dtype == torch.float32 else "tf32"
        self.constants: dict[str, Any] = {
            "HEAD": self.head,
            "HALF": half,
            "TOKENS": tokens,
            "PRECISION": precision,
        }
        self.sizes = (self.num_tokens, width, num_heads)

    def sums(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return empty sums of each part: squares and vectors."""
        square = value.new_empty(self.parts, self.groups, self.head, self.head, dtype=torch.float32)
        return square, value.new_empty(square.shape[:3], dtype=torch.float32)


def attend(
    query_key: Tensor, value: Tensor, num_heads: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward pass, as `attend_by_samples`."""
    query_key, value = query_key.contiguous(), value.contiguous()
    launch = _Launch(value, num_heads)
    sums = launch.sums(value)
    _sum_keys[launch.groups, launch.parts](
        *(query_key, value, *launch.turns, *sums, *launch.sizes, launch.tiles), **launch.constants
    )
    means = [part.sum(0) / launch.num_tokens for part in sums]
    output = torch.empty_like(value)
    _read_queries[launch.groups, launch.num_tiles](
        *(query_key, value, *launch.turns, *means, output, *launch.sizes, eps), **launch.constants
    )
    return output, *(mean.unflatten(0, (-1, num_heads)) for mean in means)


def attend_backward(
    grad: Tensor, query_key: Tensor, value: Tensor, key_value: Tensor, mean_key: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Run the backward pass, as `attend_by_samples_backward`."""
    grad, query_key, value = grad.contiguous(), query_key.contiguous(), value.contiguous()
    launch = _Launch(value, key_value.shape[1])
    grad_query_key, grad_value = torch.empty_like(query_key), torch.empty_like(value)
    sums = launch.sums(value)
    means = key_value.contiguous(), mean_key.contiguous()
    _query_gradients[launch.groups, launch.parts](
        *(grad, query_key, *launch.turns, *means, grad_query_key, *sums),
        *(*launch.sizes, eps, launch.tiles),
        **launch.constants,
    )
    totals = [part.sum(0) / launch.num_tokens for part in sums]
    _key_gradients[launch.groups, launch.num_tiles](
        *(query_key, value, *launch.turns, *totals, grad_query_key, grad_value, *launch.sizes),
        **launch.constants,
    )
    return grad_query_key, grad_value
