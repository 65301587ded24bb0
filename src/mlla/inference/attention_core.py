"""Linear attention of MLLA for inference on a CPU: few passes over memory and no copies."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mlla.inference.form import tiles
from mlla.ops.rotary import axis_rotations, over_grid

_EPS = 1e-6
_turns = lru_cache(maxsize=64)(axis_rotations)


def attend(
    query_key: Float[Tensor, "B H W 2*C"],
    value: Float[Tensor, "B H W C"],
    num_heads: int,
) -> Float[Tensor, "B H W C"]:
    """Compute what `linear_attention` computes of ELU + 1 of its queries and keys, in float32.

    Pairs of channels are complex numbers here, and positions turn them by one product. Samples are
    worked on one after the other, and in tiles of tokens, which stay in the cache.

    Args:
        query_key: Queries and keys before ELU + 1; float32 ones are overwritten.
        value: Values.
        num_heads: Number of heads; must divide C.

    Returns:
        The attended grid, float32.
    """
    batch, height, width, channels = value.shape
    features = functional.elu_(query_key.float()).add_(1.0).flatten(1, 2)
    values = value.float().flatten(1, 2)
    of_pairs = channels // 4, value.device, torch.float32
    turns = over_grid(_turns(height, *of_pairs), _turns(width, *of_pairs))
    output = torch.empty_like(values)
    for sample in range(batch):
        _attend_sample(features[sample], values[sample], turns, num_heads, output[sample])
    return output.unflatten(1, (height, width))


def _attend_sample(
    features: Tensor, values: Tensor, turns: Tensor, num_heads: int, output: Tensor
) -> None:
    num_tokens, channels = values.shape
    queries, keys = features.split(channels, dim=1)
    parts = list(tiles(num_tokens, channels))
    # the sum over tokens as a product, which is faster
    mean_key = features.new_full((1, num_tokens), 1 / num_tokens) @ keys
    key_value = values.new_zeros(num_heads, channels // num_heads, channels // num_heads)
    for part in parts:
        keys_turned = _heads(_turned(keys[part], turns[part]), num_heads)
        key_value.baddbmm_(keys_turned.mT, _heads(values[part], num_heads), alpha=1 / num_tokens)
    normalise = torch.block_diag(*mean_key.view(num_heads, -1, 1))
    for part in parts:
        weight = (queries[part] @ normalise).add_(_EPS).reciprocal_()
        turned = _turned(queries[part], turns[part])
        torch.bmm(_heads(turned, num_heads), key_value, out=_heads(output[part], num_heads))
        output[part].unflatten(1, (num_heads, -1)).mul_(weight[..., None])


def _heads(tokens: Tensor, num_heads: int) -> Tensor:
    return tokens.unflatten(1, (num_heads, -1)).transpose(0, 1)


def _turned(tokens: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(tokens.unflatten(1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(1)
