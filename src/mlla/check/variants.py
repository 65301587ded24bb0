"""The published linear attention, and the ways in which copies of it go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from mlla.ops import rotate_by_position
from mlla.ops.rotary import BASE_FREQUENCY


@dataclass(frozen=True)
class Variant:
    """One way of computing linear attention from the published weights; the default is right.

    Attributes:
        cuts_input: Tokens come from a reshape of the map instead of a transposition.
        positions: "2-D", or along the "flat" list of tokens, the "rows" or the "columns" only, or
            "none".
        rotates_normaliser: The normaliser uses rotated queries and keys.
        local: LePE sees the map ("map"), the tokens reshaped without transposition ("cut"), or is
            left out ("none").
        cuts_output: The map comes from a reshape of the tokens instead of a transposition.
    """

    cuts_input: bool = False
    positions: str = "2-D"
    rotates_normaliser: bool = False
    local: str = "map"
    cuts_output: bool = False

    def mistakes(self) -> list[str]:
        """Name what is not as published."""
        positions = {
            "flat": "one-dimensional positions along the flat list of pixels",
            "rows": "one-dimensional positions, by the row only",
            "columns": "one-dimensional positions, by the column only",
            "none": "no rotary positions",
        }
        local = {"cut": "LePE on a scrambled map", "none": "no LePE"}
        named = {
            "tokens cut out of the map by a reshape": self.cuts_input,
            positions.get(self.positions, ""): self.positions != "2-D",
            "rotated queries and keys in the normaliser": self.rotates_normaliser,
            local.get(self.local, ""): self.local != "map",
            "the answer put back by a reshape": self.cuts_output,
        }
        return [name for name, is_so in named.items() if is_so]

    def __call__(self, weights: Mapping[str, Tensor], maps: Tensor, num_heads: int) -> Tensor:
        """Attend over maps (B, C, H, W).

        Args:
            weights: `query_key.weight`, `local_position.weight` and their biases.
            maps: The input.
            num_heads: Number of heads.

        Returns:
            Maps of the same shape.
        """
        batch, channels, height, width = maps.shape
        tokens = (
            maps.reshape(batch, height * width, channels)
            if self.cuts_input
            else maps.flatten(2).transpose(1, 2)
        )
        query_key = functional.linear(
            tokens, weights["query_key.weight"], weights["query_key.bias"]
        )
        query, key = (functional.elu(query_key) + 1).chunk(2, dim=-1)
        rotated_query, rotated_key = (self._rotate(part, height, width) for part in (query, key))
        if self.rotates_normaliser:
            query, key = rotated_query, rotated_key
        mean_key = key.mean(dim=1, keepdim=True)
        normaliser = _heads(query * mean_key, num_heads).sum(dim=-1, keepdim=True) + 1e-6
        key_value = _heads(rotated_key, num_heads).transpose(-2, -1) @ _heads(tokens, num_heads)
        attended = _heads(rotated_query, num_heads) @ key_value / tokens.shape[1] / normaliser
        answer = attended.transpose(1, 2).flatten(2)
        if self.local != "none":
            answer = answer + self._locate(tokens, weights, (height, width))
        if self.cuts_output:
            return answer.reshape(maps.shape)
        return answer.transpose(1, 2).reshape(maps.shape)

    def _rotate(self, tokens: Tensor, height: int, width: int) -> Tensor:
        if self.positions == "2-D":
            return rotate_by_position(tokens.unflatten(1, (height, width))).flatten(1, 2)
        if self.positions == "none":
            return tokens
        pairs = tokens.shape[-1] // 2
        frequencies = BASE_FREQUENCY ** (-torch.arange(pairs) / pairs)
        flat = torch.arange(tokens.shape[1])
        index = {"flat": flat, "rows": flat // width, "columns": flat % width}[self.positions]
        angles = index[:, None] * frequencies
        turned = torch.view_as_complex(tokens.unflatten(-1, (-1, 2)).contiguous())
        turned = turned * torch.polar(torch.ones_like(angles), angles)
        return torch.view_as_real(turned).flatten(-2)

    def _locate(
        self, tokens: Tensor, weights: Mapping[str, Tensor], size: tuple[int, int]
    ) -> Tensor:
        channels_first = (tokens.shape[0], tokens.shape[2], *size)
        maps = (
            tokens.reshape(channels_first)
            if self.local == "cut"
            else tokens.transpose(1, 2).reshape(channels_first)
        )
        local = functional.conv2d(
            maps,
            weights["local_position.weight"],
            weights["local_position.bias"],
            padding=1,
            groups=tokens.shape[2],
        )
        return local.flatten(2).transpose(1, 2)


VARIANTS = tuple(
    Variant(*choice)
    for choice in product(
        (False, True),
        ("2-D", "flat", "rows", "columns", "none"),
        (False, True),
        ("map", "cut", "none"),
        (False, True),
    )
    # without rotation there is none to keep out of the normaliser
    if not (choice[1] == "none" and choice[2])
)


def _heads(tokens: Tensor, num_heads: int) -> Tensor:
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)
