# SPDX-License-Identifier: AGPL-3.0-only
"""YOLO11's stages around MLLA: NCHW in, NCHW out.

`mlla.yolo.rows` imports this module, which registers them. Checkpoints store these classes by
their dotted names; the names are a file format and stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from ultralytics.nn.modules import Conv

from mlla.layers import GatedLinearAttention
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.yolo.fused_row import FusedRow
from mlla.yolo.register import register_scaled
from mlla.yolo.row_parts import (
    HEAD_DIM,
    count_heads,
    inner_width,
    mlla_blocks,
    split_and_join,
    to_grid,
    to_map,
)


@register_scaled
class C3k2MLLA(FusedRow):
    """C3k2 whose inner units are MLLA blocks: `[from, repeats, C3k2MLLA, [width]]`.

    Its outer convolutions have the names and shapes of C3k2's, so they keep pretrained weights.
    C3k2 has other inner units at scales m, l and x; this one has the same at every scale.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        num_blocks: Number of blocks.
        expansion: Width of the blocks as a fraction of `out_channels`.
        head_dim: Channels per attention head. Blocks narrower than that have a single head, as at
            scale n, where a C3k2 may be 16 channels wide; other widths must be multiples of it.

    Raises:
        ValueError: If `expansion` is not a positive number (C3k2's third argument, `c3k`, has no
            meaning here) or the blocks' width does not split into heads.
    """

    # not a subclass of C2f: Ultralytics' exporter replaces the forward of those

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int = 1,
        expansion: float = 0.5,
        head_dim: int = HEAD_DIM,
    ) -> None:
        super().__init__()
        width = inner_width("C3k2MLLA", out_channels, expansion)
        head_dim = _narrowed(head_dim, width)
        self.cv1 = Conv(in_channels, 2 * width, 1)
        self.cv2 = Conv((2 + num_blocks) * width, out_channels, 1)
        self.m = nn.ModuleList(mlla_blocks("C3k2MLLA", width, num_blocks, head_dim))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Send half of the channels through the blocks and join every intermediate result."""
        return split_and_join(x, self.cv1, self.m, self.cv2)


class PSABlockMLLA(nn.Module):
    """PSABlock with the attention half of an MLLA block; the convolutions behind are the same.

    Args:
        width: Width of the map.
        num_heads: Number of attention heads.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.position_before_attention = depthwise_conv3x3(width)
        self.attention_norm = nn.LayerNorm(width)
        self.gated_attention = GatedLinearAttention(width, num_heads)
        self.ffn = nn.Sequential(Conv(width, 2 * width, 1), Conv(2 * width, width, 1, act=False))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Mix tokens, then channels."""
        grid = to_grid(x)
        grid = grid + convolve_grid(self.position_before_attention, grid)
        x = to_map(grid + self.gated_attention(self.attention_norm(grid)))
        return x + self.ffn(x)


@register_scaled
class C2PSAMLLA(FusedRow):
    """C2PSA whose attention is MLLA's: `[from, repeats, C2PSAMLLA, [width]]`.

    All but the attention has the names and shapes of C2PSA's, so it keeps pretrained weights. The
    cost is linear in the number of pixels, where that of C2PSA's softmax is quadratic.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; must equal the input's.
        num_blocks: Number of blocks.
        expansion: Width of the blocks as a fraction of `out_channels`.
        head_dim: Channels per attention head, as in `C3k2MLLA`.

    Raises:
        ValueError: If the widths differ, `expansion` is not a positive number or the blocks' width
            does not split into heads.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int = 1,
        expansion: float = 0.5,
        head_dim: int = HEAD_DIM,
    ) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ValueError(
                f"C2PSAMLLA keeps its width, but the row asks for {out_channels} channels and gets "
                f"{in_channels}; write the width of the row it reads from"
            )
        width = inner_width("C2PSAMLLA", out_channels, expansion)
        heads = count_heads("C2PSAMLLA", width, _narrowed(head_dim, width))
        self.cv1 = Conv(in_channels, 2 * width, 1)
        self.cv2 = Conv(2 * width, out_channels, 1)
        self.m = nn.Sequential(*(PSABlockMLLA(width, heads) for _ in range(num_blocks)))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Send half of the channels through the blocks and join the halves."""
        kept, refined = self.cv1(x).chunk(2, dim=1)
        return self.cv2(torch.cat((kept, self.m(refined)), dim=1))


def _narrowed(head_dim: int, width: int) -> int:
    return width if isinstance(head_dim, int) and head_dim > width else head_dim


# what ULTRALYTICS_SAFE_LOAD=1 may then build from a checkpoint, besides the classes it knows
torch.serialization.add_safe_globals([C3k2MLLA, C2PSAMLLA, PSABlockMLLA])
