# SPDX-License-Identifier: AGPL-3.0-only
"""What the rows of several families share: layouts, gates and blocks."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from mlla.blocks import MLLABlock

HEAD_DIM = 32


def mlla_blocks(row: str, width: int, num_blocks: int, head_dim: int) -> list[MLLABlock]:
    """Build MLLA blocks for a row, which an error names."""
    heads = count_heads(row, width, head_dim)
    return [MLLABlock(width, heads) for _ in range(num_blocks)]


def count_heads(row: str, width: int, head_dim: int) -> int:
    """Split a width into heads of `head_dim` channels, for a row, which an error names."""
    whole = isinstance(head_dim, int) and not isinstance(head_dim, bool) and head_dim > 0
    if not whole or width % head_dim or width % 4:
        raise ValueError(
            f"{row} works at {width} channels at this scale, which must be a multiple of 4 and of "
            f"head_dim={head_dim!r}; change the width of the row, or its head_dim"
        )
    return width // head_dim


def inner_width(row: str, width: int, expansion: float) -> int:
    """Return the width inside a row that stands for a C3k2 or C2PSA, which an error names."""
    if isinstance(expansion, bool) or not expansion > 0:
        raise ValueError(
            f"{row} got expansion={expansion!r}, which must be a positive number such as 0.5; it "
            "takes no c3k argument, since it is the same at every scale"
        )
    return int(width * expansion)


def gate_parameter(kind: str, width: int) -> nn.Parameter | None:
    """Build the closed gate of "zero", one number per channel, or nothing for "none"."""
    if kind not in ("zero", "none"):
        raise ValueError(f"gate={kind!r} is unknown; choose 'zero' or 'none'")
    return nn.Parameter(torch.zeros(width, 1, 1)) if kind == "zero" else None


def gated(x: Tensor, changed: Tensor, gate: Tensor | None) -> Tensor:
    """Add the change of a block through its gate; without a gate, return what it made."""
    return changed if gate is None else x + gate * (changed - x)


def refuse_repeats(row: str, repeats: int) -> None:
    """Raise if a row that cannot repeat is asked to."""
    if repeats != 1:
        raise ValueError(f"{row} cannot repeat, but its row asks for {repeats}; write 1")


def to_grid(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C)."""
    return x.permute(0, 2, 3, 1).contiguous()


def to_map(grid: Tensor) -> Tensor:
    """(B, H, W, C) to (B, C, H, W)."""
    return grid.permute(0, 3, 1, 2)


def split_and_join(
    x: Tensor, split: nn.Module, units: Iterable[nn.Module], join: nn.Module
) -> Tensor:
    """Compute what C2f and C3k2 compute, with units that work on grids.

    Args:
        x: The map.
        split: Its output's second half goes through the units, one after the other.
        units: Modules from (B, H, W, C) to (B, H, W, C).
        join: What reads both halves and the output of every unit.

    Returns:
        The output of `join`.
    """
    parts = list(split(x).chunk(2, dim=1))
    grid = to_grid(parts[-1])
    for unit in units:
        grid = unit(grid)
        parts.append(to_map(grid))
    return join(torch.cat(parts, dim=1))
