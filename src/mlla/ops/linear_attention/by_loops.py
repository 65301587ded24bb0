"""Linear attention as in `by_samples`, with loops that Numba compiles between its products."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlla.ops.linear_attention.by_samples import Attended
from mlla.ops.rotary import axis_rotations
from mlla.ops.simd.grids import as_array, share_rows
from mlla.ops.simd.lanes import LANES
from mlla.ops.simd.loading import import_failure, load_loops

LOOPS = "mlla.ops.linear_attention.loops"
_DTYPES = {torch.float32, torch.bfloat16}
# elements of the values of the samples in work, for every thread: buffers stay in its cache
_PART_ELEMENTS = 2**18


def fits_loops(query_key: Tensor, value: Tensor, num_heads: int) -> bool:
    """Tell whether the loops know a projection and its values, and can be compiled."""
    fits = value.shape[3] % (LANES * num_heads) == 0 and value.numel() > 0
    is_known = value.device.type == "cpu" and {query_key.dtype, value.dtype} <= _DTYPES
    return is_known and fits and not import_failure(LOOPS)


def attend_by_loops(query_key: Tensor, value: Tensor, num_heads: int, eps: float) -> Attended:
    """Run the forward pass on a projection (B, H, W, 2C) and values (B, H, W, C).

    Returns:
        As `attend_by_samples`, with an output of float32.
    """
    batch, height, width, channels = value.shape
    num_tokens = height * width
    turns = _turns(height, channels, False), _turns(width, channels, True)
    output = value.new_empty(value.shape, dtype=torch.float32)
    head = channels // num_heads
    key_value = output.new_empty(batch, num_heads, head, head)
    mean_key = output.new_empty(batch, channels)
    loops = load_loops(LOOPS)
    for part in _parts(value):
        queries = torch.empty_like(output[part])
        # what becomes the output serves as a buffer before
        keys = output[part]
        means = keys.new_empty(keys.shape[0], height, channels)
        projected = as_array(query_key[part])
        share_rows(loops.turn_keys, keys, projected, *turns, as_array(keys), as_array(means))
        torch.sum(means, 1, out=mean_key[part])
        arrays = (projected, *turns, as_array(mean_key[part]), num_heads, np.float32(eps))
        share_rows(loops.turn_queries, keys, *arrays, as_array(queries))
        values = value[part].contiguous().float()
        for sample, products in enumerate(key_value[part]):
            key, rest = _heads(keys[sample], num_heads), _heads(values[sample], num_heads)
            torch.baddbmm(products, key.mT, rest, beta=0, alpha=1 / num_tokens, out=products)
            torch.bmm(_heads(queries[sample], num_heads), products, out=key)
    return Attended(output, key_value, mean_key.view(batch, num_heads, head))


def attend_by_loops_backward(
    grad: Tensor, query_key: Tensor, value: Tensor, key_value: Tensor, mean_key: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the projection and of the values from that of the output."""
    _, height, width, channels = value.shape
    num_heads, num_tokens = key_value.shape[1], height * width
    turns = _turns(height, channels, False), _turns(width, channels, True)
    grad_query_key = query_key.new_empty(query_key.shape)
    grad_value = value.new_empty(value.shape)
    loops = load_loops(LOOPS)
    for part in _parts(value):
        queries, keys = key_value.new_empty(2, *value[part].shape)
        sums = key_value.new_empty(2, len(keys), height, channels)
        projected = as_array(query_key[part])
        normaliser = as_array(mean_key[part].flatten(1)), num_heads, np.float32(eps)
        result = as_array(grad_query_key[part])
        share_rows(loops.turn_keys, keys, projected, *turns, as_array(keys), as_array(sums[0]))
        share_rows(loops.turn_queries, keys, projected, *turns, *normaliser, as_array(queries))
        values, above_part = value[part].contiguous().float(), grad[part].contiguous().float()
        for sample, products in enumerate(key_value[part]):
            query, key = _heads(queries[sample], num_heads), _heads(keys[sample], num_heads)
            above = _heads(above_part[sample], num_heads)
            # the queries are divided already
            grad_products = torch.bmm(query.mT, above).mul_(1 / num_tokens)
            _heads(grad_value[part][sample], num_heads).copy_(key @ grad_products)
            torch.bmm(above, products.mT, out=query)
            torch.bmm(_heads(values[sample], num_heads), grad_products.mT, out=key)
        arrays = (projected, *turns, *normaliser, as_array(queries), result, as_array(sums[1]))
        share_rows(loops.query_gradients, keys, *arrays)
        grad_mean_key = sums[1].sum(1).mul_(1 / num_tokens)
        of_keys = as_array(grad_mean_key), as_array(keys), result
        share_rows(loops.key_gradients, keys, projected, *turns, *of_keys)
    return grad_query_key, grad_value


def _parts(value: Tensor) -> list[slice]:
    samples = max(1, _PART_ELEMENTS * torch.get_num_threads() // value[0].numel())
    return [slice(first, first + samples) for first in range(0, len(value), samples)]


def _heads(tokens: Tensor, num_heads: int) -> Tensor:
    """(H, W, C) as (heads, N, C/heads), a view."""
    return tokens.view(-1, num_heads, tokens.shape[2] // num_heads).transpose(0, 1)


@lru_cache(maxsize=64)
def _turns(length: int, channels: int, are_columns: bool) -> Any:
    """Return cosines and signed sines of positions on one axis (2, length, C).

    They are zero for the channels that the other axis turns, so that both can be added.
    """
    rotations = axis_rotations(length, channels // 4, torch.device("cpu"), torch.float32)
    turns = torch.zeros(2, length, 2, channels // 4, 2)
    turns[0, :, int(are_columns)] = rotations.real[..., None]
    turns[1, :, int(are_columns)] = torch.stack((-rotations.imag, rotations.imag), dim=-1)
    return turns.flatten(2).numpy()
