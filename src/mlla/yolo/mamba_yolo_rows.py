# SPDX-License-Identifier: AGPL-3.0-only
"""The rows of Mamba-YOLO: NCHW in, NCHW out.

`mlla.yolo.rows` imports this module, which registers them. Checkpoints store these classes by
their dotted names; the names are a file format and stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.blocks import ODSSBlock, XSSBlock
from mlla.layers import (
    FourWayScan,
    LocalSpatial,
    MambaYOLODownsample,
    MambaYOLOSS2D,
    MambaYOLOStem,
    PointwiseConvNorm,
    ResidualGatedMLP,
)
from mlla.yolo.register import register_scaled
from mlla.yolo.row_parts import refuse_repeats, to_grid, to_map


@register_scaled
class SimpleStem(nn.Module):
    """Mamba-YOLO's stem, from the image to a quarter of its size: `[-1, 1, SimpleStem, [width]]`.

    Args:
        in_channels: Channels of the image.
        out_channels: Width of the output.
        repeats: Must be 1.

    Raises:
        ValueError: If `repeats` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1) -> None:
        super().__init__()
        refuse_repeats("SimpleStem", repeats)
        self.stem = MambaYOLOStem(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Embed patches."""
        return to_map(self.stem(x))


@register_scaled
class VisionClueMerge(nn.Module):
    """Mamba-YOLO's downsampling by two: `[-1, 1, VisionClueMerge, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        repeats: Must be 1.

    Raises:
        ValueError: If `repeats` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1) -> None:
        super().__init__()
        refuse_repeats("VisionClueMerge", repeats)
        self.downsample = MambaYOLODownsample(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Halve height and width."""
        return to_map(self.downsample(to_grid(x)))


@register_scaled
class ODSSBlocks(nn.Module):
    """Mamba-YOLO's backbone blocks in sequence: `[from, repeats, ODSSBlocks, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        num_blocks: Number of blocks; the first one changes the width.
    """

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int = 1) -> None:
        super().__init__()
        widths = [in_channels, *[out_channels] * (num_blocks - 1)]
        self.blocks = nn.Sequential(*(ODSSBlock(width, out_channels) for width in widths))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Refine the map."""
        return to_map(self.blocks(to_grid(x)))


@register_scaled
class XSSStage(nn.Module):
    """Mamba-YOLO's neck block, whose scans repeat: `[from, repeats, XSSStage, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        num_scans: Number of four-way scans inside the one block.
    """

    def __init__(self, in_channels: int, out_channels: int, num_scans: int = 1) -> None:
        super().__init__()
        self.block = XSSBlock(in_channels, out_channels, num_scans)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Fuse the maps that were concatenated."""
        return to_map(self.block(to_grid(x)))


# what ULTRALYTICS_SAFE_LOAD=1 may then build from a checkpoint, besides the classes it knows
torch.serialization.add_safe_globals(
    [
        *(SimpleStem, VisionClueMerge, ODSSBlocks, XSSStage),
        *(ODSSBlock, XSSBlock, MambaYOLOStem, MambaYOLODownsample, MambaYOLOSS2D),
        *(FourWayScan, LocalSpatial, PointwiseConvNorm, ResidualGatedMLP),
    ]
)
