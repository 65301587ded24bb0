"""The attention that tutorials paste under the name of MLLA, with its faults, for comparison only.

Written anew from a description of eight public copies. Do not use it: `mlla check
experiments/compare/pasted_mlla.py:PastedMLLA` tells what is wrong with it.
"""

import torch
from torch import nn


class PastedMLLA(nn.Module):
    """Linear attention over tokens that are not pixels.

    Args:
        dim: Channels of the map.
        num_heads: Fixed at 4 by whoever pastes it.
    """

    def __init__(self, dim: int, num_heads: int = 4) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qk = nn.Linear(dim, 2 * dim)
        self.lepe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend; fails on maps that are not square."""
        batch, channels, height, width = x.shape
        tokens = height * width
        # the fault that decides: no permute, so a "token" mixes places and channels
        value = x.reshape(batch, tokens, channels)
        query, key = self.qk(value).chunk(2, dim=-1)
        query, key = nn.functional.elu(query) + 1, nn.functional.elu(key) + 1
        turned_query, turned_key = self._rotate(query), self._rotate(key)
        q, k, v, tq, tk = (self._heads(t) for t in (query, key, value, turned_query, turned_key))
        z = 1 / (q @ k.mean(dim=-2, keepdim=True).transpose(-2, -1) + 1e-6)
        kv = (tk.transpose(-2, -1) * tokens**-0.5) @ (v * tokens**-0.5)
        out = (tq @ kv * z).transpose(1, 2).reshape(batch, tokens, channels)
        # and the map is taken for a square
        side = int(tokens**0.5)
        grid = value.reshape(batch, side, side, channels).permute(0, 3, 1, 2)
        out = out + self.lepe(grid).permute(0, 2, 3, 1).reshape(batch, tokens, channels)
        return out.transpose(1, 2).reshape(batch, channels, side, side)

    def _heads(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, number, channels = tokens.shape
        heads = tokens.reshape(batch, number, self.num_heads, channels // self.num_heads)
        return heads.transpose(1, 2)

    @staticmethod
    def _rotate(tokens: torch.Tensor) -> torch.Tensor:
        """Rotary position embedding in one dimension."""
        number, half = tokens.shape[1], tokens.shape[2] // 2
        rates = 10000 ** (-torch.arange(half, device=tokens.device) / half)
        angle = torch.arange(number, device=tokens.device)[:, None] * rates
        first, second = tokens[..., :half], tokens[..., half:]
        cos, sin = angle.cos().to(tokens), angle.sin().to(tokens)
        return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
