"""Classes that carry the faults of the attention that circulates in tutorials.

Written for these tests from descriptions of the faults, one class per fault or combination.
"""

import torch
from torch import nn
from torch.nn import functional


def rotate_flat(tokens):
    """Rotate pairs of channels by the index of the token: the one-dimensional encoding."""
    pairs = tokens.shape[-1] // 2
    frequencies = 10000 ** (-torch.arange(pairs, dtype=tokens.dtype) / pairs)
    angles = torch.arange(tokens.shape[1], dtype=tokens.dtype)[:, None] * frequencies
    first, second = tokens[..., 0::2], tokens[..., 1::2]
    turned = (
        first * angles.cos() - second * angles.sin(),
        first * angles.sin() + second * angles.cos(),
    )
    return torch.stack(turned, dim=-1).flatten(-2)


def rotate_grid(tokens, height, width):
    """Rotate half of the channels by the row and half by the column."""
    rows, columns = tokens.unflatten(1, (height, width)).chunk(2, dim=-1)
    rows = rotate_flat(rows.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, width))
    columns = rotate_flat(columns.flatten(0, 1)).unflatten(0, (-1, height))
    return torch.cat((rows.transpose(1, 2), columns), dim=-1).flatten(1, 2)


def attend(query, key, value, query_for_sum, key_for_sum, heads):
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)  # noqa: E731
    query, key, value, query_for_sum, key_for_sum = map(
        split, (query, key, value, query_for_sum, key_for_sum)
    )
    scale = query_for_sum @ key_for_sum.mean(dim=2, keepdim=True).transpose(-2, -1) + 1e-6
    pairs = key.transpose(-2, -1) @ (value / value.shape[2])
    return (query @ pairs / scale).transpose(1, 2).flatten(2)


class WithWeights(nn.Module):
    """The weights of the published attention, under their published names."""

    def __init__(self, dim=3, num_heads=4):
        super().__init__()
        self.dim = dim
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim)
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def features(self, tokens):
        return (functional.elu(self.qk(tokens)) + 1).chunk(2, dim=-1)


class TutorialMLLAttention(nn.Module):
    """All six faults at once."""

    def __init__(self, dim=3, input_resolution=(160, 160), num_heads=4, qkv_bias=True, **kwargs):
        super().__init__()
        self.dim = dim
        self.num_heads = 4
        self.qk = nn.Linear(dim, 2 * dim)
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x):
        batch, channels, height, width = x.shape
        tokens = x.reshape(batch, height * width, channels)
        side = int(tokens.shape[1] ** 0.5)
        query, key = (functional.elu(self.qk(tokens)) + 1).chunk(2, dim=-1)
        answer = attend(rotate_flat(query), rotate_flat(key), tokens, query, key, self.num_heads)
        answer = answer.transpose(1, 2).reshape(batch, channels, side, side)
        local = tokens.transpose(1, 2).reshape(batch, channels, side, side)
        return answer + self.lepe(local)

    def extra_repr(self):
        return f"dim={self.dim}, resolution={self.input_resolution}"


class ScrambledMLLAttention(WithWeights):
    """1: tokens are cut out of the map."""

    def forward(self, x):
        batch, channels, height, width = x.shape
        tokens = x.reshape(batch, height * width, channels)
        query, key = self.features(tokens)
        answer = attend(
            rotate_grid(query, height, width), rotate_grid(key, height, width), tokens,
            query, key, self.num_heads,
        )  # fmt: skip
        answer = answer.transpose(1, 2).reshape(x.shape)
        return answer + self.lepe(tokens.transpose(1, 2).reshape(x.shape))


class ScrambledThereAndBack(nn.Module):
    """1: cut into tokens and put back the same way, with a residual that hides it."""

    def __init__(self, channels):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 4, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x):
        batch, channels, height, width = x.shape
        tokens = self.norm(x.view(batch, height * width, channels))
        answer, _ = self.attention(tokens, tokens, tokens)
        return x + answer.contiguous().view(batch, channels, height, width)


class ScrambledOnTheWayBack(nn.Module):
    """1: tokens are right, the answer is put back by a reshape; residual."""

    def __init__(self, c1, c2, num_heads=4):
        super().__init__()
        self.attention = nn.MultiheadAttention(c1, num_heads, batch_first=True)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        return x + self.attention(tokens, tokens, tokens)[0].reshape(x.shape)


class SquareOnly(WithWeights):
    """2: everything right but the side, taken from the number of tokens."""

    def forward(self, x):
        batch, channels = x.shape[:2]
        tokens = x.flatten(2).transpose(1, 2)
        side = int(tokens.shape[1] ** 0.5)
        query, key = self.features(tokens)
        answer = attend(
            rotate_grid(query, side, side), rotate_grid(key, side, side), tokens,
            query, key, self.num_heads,
        )  # fmt: skip
        maps = (answer, tokens)
        answer, value = (m.transpose(1, 2).reshape(batch, channels, side, side) for m in maps)
        return answer + self.lepe(value)


class FlatPositions(WithWeights):
    """3: positions along the flat list."""

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        query, key = self.features(tokens)
        answer = attend(rotate_flat(query), rotate_flat(key), tokens, query, key, self.num_heads)
        return answer.transpose(1, 2).reshape(x.shape) + self.lepe(x)


class ColumnsOnly(WithWeights):
    """3: a table of one row is broadcast over all rows."""

    def forward(self, x):
        width = x.shape[3]
        tokens = x.flatten(2).transpose(1, 2)
        query, key = self.features(tokens)
        turned = (
            rotate_flat(part.unflatten(1, (-1, width)).flatten(0, 1)).view(tokens.shape)
            for part in (query, key)
        )
        answer = attend(*turned, tokens, query, key, self.num_heads)
        return answer.transpose(1, 2).reshape(x.shape) + self.lepe(x)


class BareMLLA(WithWeights):
    """4: the operator alone, right as it is, under the name of the block."""

    def forward(self, x):
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        query, key = self.features(tokens)
        answer = attend(
            rotate_grid(query, height, width), rotate_grid(key, height, width), tokens,
            query, key, self.num_heads,
        )  # fmt: skip
        return answer.transpose(1, 2).reshape(x.shape) + self.lepe(x)


class IgnoresHeads(BareMLLA):
    """5: num_heads is taken and dropped."""

    def __init__(self, dim, num_heads=8, qkv_bias=True):
        super().__init__(dim, 4)


class FixedHeadsMLLA(BareMLLA):
    """5: four heads, take them or leave them."""

    def __init__(self, dim):
        super().__init__(dim, 4)


class DoesNotPrint(BareMLLA):
    """6: extra_repr reads what was never set."""

    def extra_repr(self):
        return f"dim={self.dim}, input_resolution={self.input_resolution}"


class RepairedButLocalScrambled(WithWeights):
    """A repair that leaves LePE on a scrambled map."""

    def forward(self, x):
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        query, key = self.features(tokens)
        answer = attend(
            rotate_grid(query, height, width), rotate_grid(key, height, width), tokens,
            query, key, self.num_heads,
        )  # fmt: skip
        local = self.lepe(tokens.reshape(x.shape)).flatten(2).transpose(1, 2)
        return (answer + local).transpose(1, 2).reshape(x.shape)


class RepairedButRotatedSum(WithWeights):
    """A repair that rotates queries and keys in the normaliser as well."""

    def forward(self, x):
        height, width = x.shape[2:]
        tokens = x.flatten(2).transpose(1, 2)
        query, key = (rotate_grid(part, height, width) for part in self.features(tokens))
        answer = attend(query, key, tokens, query, key, self.num_heads)
        return answer.transpose(1, 2).reshape(x.shape) + self.lepe(x)


class OverflowsInHalf(nn.Module):
    """Sums over all pixels without dividing first."""

    def __init__(self, dim):
        super().__init__()
        self.query_key_value = nn.Conv2d(dim, 3 * dim, 1)

    def forward(self, x):
        query, key, value = self.query_key_value(x).flatten(2).chunk(3, dim=1)
        query, key = query.relu(), key.relu()
        pairs = key @ value.transpose(1, 2)
        scale = (query * key.sum(dim=2, keepdim=True)).sum(dim=1, keepdim=True) + 1e-6
        return ((pairs.transpose(1, 2) @ query) / scale).reshape(x.shape)


class LayersMadeInForward(nn.Module):
    """Positions are made when they are first needed, for one size, and kept."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        if not hasattr(self, "position"):
            self.position = nn.Parameter(torch.full((1, 1, *x.shape[2:]), 0.1))
        return x + self.mix(x) + functional.interpolate(self.position, x.shape[2:])


class AcrossTheBatch(nn.Module):
    """(B, N, C) given to a layer that takes (N, B, C)."""

    def __init__(self, dim):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, 4)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        answer, _ = self.attention(tokens, tokens, tokens)
        return answer.transpose(1, 2).reshape(x.shape)


class RandomInEval(nn.Module):
    """Dropout that never stops."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1)
        self.unused = nn.Linear(dim, dim)

    def forward(self, x):
        return x + functional.dropout(self.mix(x), 0.5)


class FrozenByExport(nn.Module):
    """A size that becomes a number when traced, with the wrong result at any other."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return x + self.mix(x) * float(x.shape[2] ** 0.5)


class ChangesItsInput(nn.Module):
    """What it was given is another tensor afterwards."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        change = self.mix(x.clone())
        x += change
        return x


class KeepsTheFirstSize(nn.Module):
    """A table made for the first size it meets."""

    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Conv2d(dim, dim, 1)
        self.table = None

    def forward(self, x):
        if self.table is None:
            self.table = torch.linspace(0, 1, x.shape[2] * x.shape[3], device=x.device)
        return x + self.mix(x) * self.table[: x.shape[2] * x.shape[3]].view(x.shape[2:])
