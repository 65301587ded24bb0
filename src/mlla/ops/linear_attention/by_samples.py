"""Linear attention from a projection, forward and backward, a few samples at a time.

What lies between input and output is never stored: it is computed again in the backward pass, and
lives in buffers as small as the cache. With the features f = exp(min(x, 0)) + max(x, 0) of queries
and keys x, the rotation R, the mean k of the keys' features and s_i = f(q_i) . k + eps:

    M = mean_j R f(k_j) v_j^T        y_i = (R f(q_i))^T M / s_i

and, from the gradient g of y and h_i = g_i / s_i:

    dM = sum_i R f(q_i) h_i^T        u_i = R^-1 M h_i        ds_i = -(u_i . f(q_i)) / s_i
    df(q_i) = u_i + ds_i k           dv_j = dM^T R f(k_j) / N
    df(k_j) = (R^-1 dM v_j + sum_i ds_i f(q_i)) / N          df/dx = min(f, 1)
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mlla.ops.rotary import position_rotations

# elements of the values of the samples in work: their buffers stay in a second-level cache
_CHUNK_ELEMENTS = 2**18


class Attended(NamedTuple):
    """What the forward pass gives, the last two for the backward pass.

    Attributes:
        output: The attended grid (B, H, W, C).
        key_value: The mean M of each head (B, heads, C/heads, C/heads).
        mean_key: The mean of the features of the keys (B, heads, C/heads).
    """

    output: Tensor
    key_value: Tensor
    mean_key: Tensor


def attend_by_samples(query_key: Tensor, value: Tensor, num_heads: int, eps: float) -> Attended:
    """Run the forward pass on a projection (B, H, W, 2C) and values (B, H, W, C)."""
    batch, height, width, channels = value.shape
    precision = torch.promote_types(value.dtype, torch.float32)
    rotations = position_rotations(height, width, channels, value.device, precision)
    output = value.new_empty(value.shape)
    key_value, mean_key = empty_means(value, num_heads)
    for part in _parts(batch, height * width * channels):
        features = _features(query_key[part], precision)
        turned_query, turned_key = _turn(features, rotations, num_heads)
        values = _heads(value[part].to(precision), num_heads)
        key_value[part] = (turned_key.mT @ values / (height * width)).unflatten(0, (-1, num_heads))
        mean_key[part] = features[1].mean(1).unflatten(-1, (num_heads, -1))
        attended = (turned_query @ key_value[part].flatten(0, 1)).unflatten(0, (-1, num_heads))
        normaliser = _normaliser(features[0], mean_key[part], eps)
        torch.div(attended, normaliser, out=_head_view(output[part], num_heads))
    return Attended(output, key_value, mean_key)


def attend_by_samples_backward(
    grad: Tensor,
    query_key: Tensor,
    value: Tensor,
    key_value: Tensor,
    mean_key: Tensor,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the projection and of the values from that of the output."""
    batch, height, width, channels = value.shape
    num_heads = key_value.shape[1]
    num_tokens = height * width
    precision = key_value.dtype
    rotations = position_rotations(height, width, channels, value.device, precision)
    back = rotations.conj().resolve_conj()
    grad_query_key = query_key.new_empty(query_key.shape)
    grad_value = value.new_empty(value.shape)
    # sums the channels of each head in one product
    ones = _block_diagonal(torch.ones_like(mean_key[:1]))
    for part in _parts(batch, num_tokens * channels):
        features = _features(query_key[part], precision)
        turned_query, turned_key = _turn(features, rotations, num_heads)
        values = _heads(value[part].to(precision), num_heads)
        normaliser = _normaliser(features[0], mean_key[part], eps)
        above = torch.div(_head_view(grad[part], num_heads), normaliser).flatten(0, 1)

        grad_key_value = turned_query.mT @ above / num_tokens
        _head_view(grad_value[part], num_heads).copy_(
            (turned_key @ grad_key_value).unflatten(0, (-1, num_heads))
        )
        # into the buffers that are no longer needed
        torch.bmm(above, key_value[part].flatten(0, 1).mT, out=turned_query)
        torch.bmm(values, grad_key_value.mT, out=turned_key)
        grads = _turn_back((turned_query, turned_key), back, features)

        grad_normaliser = -(grads[0] * features[0]) @ ones.expand(len(grads[0]), -1, -1)
        grad_normaliser /= normaliser[..., 0].mT
        blocks = _block_diagonal(mean_key[part])
        grads[0].baddbmm_(grad_normaliser, blocks.mT)
        products = (grad_normaliser.mT @ features[0]).unflatten(-1, (num_heads, -1))
        grad_mean_key = products.diagonal(dim1=1, dim2=2).mT.flatten(1)
        grads[1].add_(grad_mean_key[:, None], alpha=1 / num_tokens)
        torch.mul(grads, features.clamp_(max=1), out=_query_key_view(grad_query_key[part]))
    return grad_query_key, grad_value


def empty_means(value: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    """Return empty tensors for what the forward pass keeps."""
    batch, channels = value.shape[0], value.shape[3]
    head = channels // num_heads
    precision = torch.promote_types(value.dtype, torch.float32)
    return (
        value.new_empty(batch, num_heads, head, head, dtype=precision),
        value.new_empty(batch, num_heads, head, dtype=precision),
    )


def _parts(batch: int, elements: int) -> Iterator[slice]:
    samples = max(1, _CHUNK_ELEMENTS // elements)
    for first in range(0, batch, samples):
        yield slice(first, first + samples)


def _query_key_view(query_key: Tensor) -> Tensor:
    """(B, H, W, 2C) as (2, B, N, C)."""
    return query_key.flatten(1, 2).unflatten(-1, (2, -1)).movedim(2, 0)


def _head_view(grid: Tensor, num_heads: int) -> Tensor:
    """(B, H, W, C) as (B, heads, N, C/heads)."""
    return grid.flatten(1, 2).unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _heads(grid: Tensor, num_heads: int) -> Tensor:
    """(B, H, W, C) as (B * heads, N, C/heads): a view of one sample, a copy of several."""
    return _head_view(grid, num_heads).flatten(0, 1)


def _features(query_key: Tensor, precision: torch.dtype) -> Tensor:
    """Return ELU + 1 of queries and keys, (2, B, N, C), right to the last digit near 0, too."""
    raw = _query_key_view(query_key).to(precision)
    # `empty_like` would keep the order of a view
    features = raw.new_empty(raw.shape)
    torch.clamp(raw, max=0, out=features)
    return features.exp_().add_(raw.clamp(min=0))


def _turn(features: Tensor, rotations: Tensor, num_heads: int) -> Tensor:
    """Rotate by position: (2, B, N, C) to (2, B * heads, N, C/heads)."""
    batch, tokens, channels = features.shape[1:]
    pairs = torch.view_as_complex(features.unflatten(-1, (num_heads, -1, 2))).transpose(2, 3)
    turned = pairs.new_empty(pairs.shape)
    turns = rotations.unflatten(-1, (num_heads, -1)).transpose(0, 1)
    torch.mul(pairs, turns, out=turned)
    return torch.view_as_real(turned).view(2, batch * num_heads, tokens, channels // num_heads)


def _turn_back(turned: tuple[Tensor, Tensor], back: Tensor, features: Tensor) -> Tensor:
    """Rotate gradients of queries and keys of each head, to the shape of `features`."""
    grads = torch.empty_like(features)
    num_heads = len(turned[0]) // features.shape[1]
    turns = back.unflatten(-1, (num_heads, -1)).transpose(0, 1)
    for heads, grad in zip(turned, grads, strict=True):
        pairs = torch.view_as_complex(heads.unflatten(-1, (-1, 2))).unflatten(0, (-1, num_heads))
        target = torch.view_as_complex(grad.unflatten(-1, (num_heads, -1, 2))).transpose(1, 2)
        torch.mul(pairs, turns, out=target)
    return grads


def _block_diagonal(mean_key: Tensor) -> Tensor:
    """(B, heads, C/heads) to (B, C, heads), zero where the channel is of another head."""
    return torch.diag_embed(mean_key.mT).transpose(1, 2).flatten(1, 2)


def _normaliser(query: Tensor, mean_key: Tensor, eps: float) -> Tensor:
    """Return s of every token and head, (B, heads, N, 1)."""
    return (query @ _block_diagonal(mean_key) + eps).mT[..., None]
