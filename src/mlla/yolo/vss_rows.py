# SPDX-License-Identifier: AGPL-3.0-only
"""YOLO11's stages around VM-UNet's VSS block: NCHW in, NCHW out.

`mlla.yolo.rows` imports this module, which registers them. Checkpoints store these classes by
their dotted names; the names are a file format and stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth
from ultralytics.nn.modules import Conv

from mlla.blocks import VMUNetVSSBlock
from mlla.layers import FourWayScan, VMUNetSS2D
from mlla.yolo.register import register_scaled
from mlla.yolo.row_parts import inner_width, split_and_join, to_grid, to_map


@register_scaled
class C3k2VSS(nn.Module):
    """C3k2 whose inner units are VSS blocks: `[from, repeats, C3k2VSS, [width]]`.

    Its outer convolutions have the names and shapes of C3k2's, so they keep pretrained weights.
    C3k2 has other inner units at scales m, l and x; this one has the same at every scale.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        num_blocks: Number of blocks.
        expansion: Width of the blocks as a fraction of `out_channels`.

    Raises:
        ValueError: If `expansion` is not a positive number (C3k2's third argument, `c3k`, has no
            meaning here).
    """

    # not a subclass of C2f: Ultralytics' exporter replaces the forward of those

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int = 1, expansion: float = 0.5
    ) -> None:
        super().__init__()
        width = inner_width("C3k2VSS", out_channels, expansion)
        self.cv1 = Conv(in_channels, 2 * width, 1)
        self.cv2 = Conv((2 + num_blocks) * width, out_channels, 1)
        self.m = nn.ModuleList(VMUNetVSSBlock(width) for _ in range(num_blocks))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Send half of the channels through the blocks and join every intermediate result."""
        return split_and_join(x, self.cv1, self.m, self.cv2)


class PSABlockVSS(nn.Module):
    """PSABlock with a VSS block in place of its attention; the convolutions behind are the same.

    Args:
        width: Width of the map.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.vss = VMUNetVSSBlock(width)
        self.ffn = nn.Sequential(Conv(width, 2 * width, 1), Conv(2 * width, width, 1, act=False))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Mix tokens, then channels."""
        x = to_map(self.vss(to_grid(x)))
        return x + self.ffn(x)


@register_scaled
class C2PSAVSS(nn.Module):
    """C2PSA that scans where the stock one attends: `[from, repeats, C2PSAVSS, [width]]`.

    All but the attention has the names and shapes of C2PSA's, so it keeps pretrained weights.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; must equal the input's.
        num_blocks: Number of blocks.
        expansion: Width of the blocks as a fraction of `out_channels`.

    Raises:
        ValueError: If the widths differ or `expansion` is not a positive number.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int = 1, expansion: float = 0.5
    ) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ValueError(
                f"C2PSAVSS keeps its width, but the row asks for {out_channels} channels and gets "
                f"{in_channels}; write the width of the row it reads from"
            )
        width = inner_width("C2PSAVSS", out_channels, expansion)
        self.cv1 = Conv(in_channels, 2 * width, 1)
        self.cv2 = Conv(2 * width, out_channels, 1)
        self.m = nn.Sequential(*(PSABlockVSS(width) for _ in range(num_blocks)))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Send half of the channels through the blocks and join the halves."""
        kept, refined = self.cv1(x).chunk(2, dim=1)
        return self.cv2(torch.cat((kept, self.m(refined)), dim=1))


# what ULTRALYTICS_SAFE_LOAD=1 may then build from a checkpoint, besides the classes it knows
torch.serialization.add_safe_globals(
    [C3k2VSS, C2PSAVSS, PSABlockVSS, VMUNetVSSBlock, VMUNetSS2D, FourWayScan, StochasticDepth]
)
