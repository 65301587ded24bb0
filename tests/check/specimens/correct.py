"""Classes with nothing wrong, of every kind that the checks must not accuse."""

import torch
from torch import nn
from torch.nn import functional

from mlla.blocks import MLLABlock
from mlla.layers import LinearAttention


class MLLABlockOnMaps(nn.Module):
    """The block of this package, on maps."""

    def __init__(self, dim, num_heads=2, mlp_ratio=4.0, drop_path=0.0):
        super().__init__()
        self.block = MLLABlock(dim, num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path)

    def forward(self, x):
        return self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GatedByZero(nn.Module):
    """A block whose effect starts at zero."""

    def __init__(self, c1, num_heads=2):
        super().__init__()
        self.block = MLLABlock(c1, num_heads)
        self.gate = nn.Parameter(torch.zeros(c1, 1, 1))

    def forward(self, x):
        return x + self.gate * (self.block(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) - x)


class LinearAttentionOnMaps(nn.Module):
    """The operator of this package, on maps, without residual."""

    def __init__(self, channels, num_heads=4):
        super().__init__()
        self.attention = LinearAttention(channels, num_heads)

    def forward(self, x):
        return self.attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class PlainLinearAttention(nn.Module):
    """Linear attention without positions, projections by convolution, no residual."""

    def __init__(self, dim, num_heads=4, qkv_bias=True):
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Conv2d(dim, 3 * dim, 1, bias=qkv_bias)

    def forward(self, x):
        split = self.query_key_value(x).flatten(2).unflatten(1, (3, self.num_heads, -1))
        query, key, value = split.unbind(1)
        query, key = query.softmax(dim=2), key.softmax(dim=3)
        pairs = key @ value.transpose(2, 3)
        return (pairs.transpose(2, 3) @ query).flatten(1, 2).unflatten(2, x.shape[2:])


class SoftmaxAttention(nn.Module):
    """Attention over all pixels of a map, without residual."""

    def __init__(self, dim, num_heads=4, qkv_bias=False, attn_drop=0.0):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        tokens = x.flatten(2).transpose(1, 2)
        qkv = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        answer = (self.attn_drop(weights) @ value).transpose(1, 2).flatten(2)
        return self.proj(answer).transpose(1, 2).reshape(x.shape)


class TokensAttention(nn.Module):
    """Attention on tokens with their size, as in most backbones."""

    def __init__(self, dim, num_heads=4):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.local = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x, H, W):  # noqa: N803
        tokens = self.norm(x)
        x = x + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        maps = x.transpose(1, 2).unflatten(2, (H, W))
        return x + self.local(maps).flatten(2).transpose(1, 2)


class GridMLP(nn.Module):
    """Channels last."""

    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.layers = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        return x + self.layers(self.norm(x))


class SqueezeExcite(nn.Module):
    """Channel attention."""

    def __init__(self, channel, reduction=16):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(channel, channel // reduction), nn.ReLU(),
            nn.Linear(channel // reduction, channel), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x):
        return x * self.layers(x.mean(dim=(2, 3)))[:, :, None, None]


class EfficientChannelAttention(nn.Module):
    """A convolution over the channels."""

    def __init__(self, c1, k=3):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2)

    def forward(self, x):
        pooled = x.mean(dim=(2, 3))[:, None]
        return x * self.conv(pooled).sigmoid().transpose(1, 2)[..., None]


class CoordinateAttention(nn.Module):
    """Pooled rows and pooled columns."""

    def __init__(self, inp, oup, reduction=8):
        super().__init__()
        self.squeeze = nn.Sequential(
            nn.Conv2d(inp, inp // reduction, 1), nn.BatchNorm2d(inp // reduction), nn.Hardswish()
        )
        self.rows = nn.Conv2d(inp // reduction, oup, 1)
        self.columns = nn.Conv2d(inp // reduction, oup, 1)

    def forward(self, x):
        height = x.shape[2]
        rows = x.mean(dim=3, keepdim=True)
        columns = x.mean(dim=2, keepdim=True).transpose(2, 3)
        both = self.squeeze(torch.cat((rows, columns), dim=2))
        rows, columns = both[:, :, :height], both[:, :, height:].transpose(2, 3)
        return x * self.rows(rows).sigmoid() * self.columns(columns).sigmoid()


class SpatialAttention(nn.Module):
    """A map of weights from the mean and the largest channel."""

    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x):
        pooled = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return x * self.conv(pooled).sigmoid()


class GlobalContext(nn.Module):
    """One vector for the whole map, pooled by softmax and added everywhere."""

    def __init__(self, dim):
        super().__init__()
        self.score = nn.Conv2d(dim, 1, 1)
        self.change = nn.Linear(dim, dim)

    def forward(self, x):
        weights = self.score(x).flatten(2).softmax(dim=-1)
        context = (x.flatten(2) @ weights.transpose(1, 2)).squeeze(2)
        return x + self.change(context)[:, :, None, None]


class RowsThenColumns(nn.Module):
    """Axial attention."""

    def __init__(self, dim, num_heads=4):
        super().__init__()
        self.along_rows = nn.MultiheadAttention(dim, num_heads, batch_first=True)
        self.along_columns = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    @staticmethod
    def attend(attention, grid):
        lines = grid.flatten(0, 1)
        return attention(lines, lines, lines)[0].unflatten(0, grid.shape[:2])

    def forward(self, x):
        grid = x.permute(0, 2, 3, 1)
        grid = grid + self.attend(self.along_rows, grid)
        grid = grid.transpose(1, 2)
        grid = grid + self.attend(self.along_columns, grid)
        return grid.transpose(1, 2).permute(0, 3, 1, 2)


class Windows(nn.Module):
    """Attention in padded windows of 4x4."""

    def __init__(self, dim, num_heads=4):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, num_heads, batch_first=True)

    def forward(self, x):
        height, width = x.shape[2:]
        padded = functional.pad(x, (0, -width % 4, 0, -height % 4))
        rows, columns = padded.shape[2] // 4, padded.shape[3] // 4
        windows = padded.unflatten(3, (columns, 4)).unflatten(2, (rows, 4))
        tokens = windows.permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, x.shape[1])
        answer = self.attention(tokens, tokens, tokens)[0]
        answer = answer.reshape(-1, rows, columns, 4, 4, x.shape[1]).permute(0, 5, 1, 3, 2, 4)
        return x + answer.flatten(4).flatten(2, 3)[:, :, :height, :width]


class Large(nn.Module):
    """A large dilated depthwise convolution."""

    def __init__(self, dim):
        super().__init__()
        self.near = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.far = nn.Conv2d(dim, dim, 7, padding=9, dilation=3, groups=dim)
        self.mix = nn.Conv2d(dim, dim, 1)

    def forward(self, x):
        return x * self.mix(self.far(self.near(x)))


class Convolution(nn.Module):
    """The row that every detector is made of."""

    def __init__(self, c1, c2, k=3):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=k // 2, bias=False)
        self.norm = nn.BatchNorm2d(c2)

    def forward(self, x):
        return functional.silu(self.norm(self.conv(x)))


class Identity(nn.Module):
    """Nothing at all."""

    def forward(self, x):
        return x


class Pooled(nn.Module):
    """The largest of the surroundings, of which an empty map has many."""

    def __init__(self, c1, c2, k=5):
        super().__init__()
        self.reduce = nn.Conv2d(c1, c1 // 2, 1)
        self.pool = nn.MaxPool2d(k, stride=1, padding=k // 2)
        self.mix = nn.Conv2d(2 * c1, c2, 1)

    def forward(self, x):
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return self.mix(torch.cat(maps, dim=1))


class DilatedConvolution(nn.Module):
    """An option, the dilation, that matters only beside another."""

    def __init__(self, c1, c2, k=1, d=1):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, padding=d * (k // 2), dilation=d)

    def forward(self, x):
        return self.conv(x)
