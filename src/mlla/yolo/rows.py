# SPDX-License-Identifier: AGPL-3.0-only
"""The modules that model YAMLs can name: NCHW in, NCHW out.

Importing this module registers them. Checkpoints store these classes by their dotted names, so a
stock `yolo predict model=best.pt` imports this module by itself; the names are a file format and
stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth
from ultralytics.nn.modules import Conv

from mlla.blocks import MLLABlock
from mlla.layers import MLP, Downsample, GatedLinearAttention, LinearAttention, Stem
from mlla.layers.conv_norm import ConvNorm, FixedBatchNorm2d
from mlla.yolo import mamba_yolo_rows as mamba_yolo_rows
from mlla.yolo import rtdetr_rows as rtdetr_rows
from mlla.yolo import vss_rows as vss_rows
from mlla.yolo import yolo11_rows as yolo11_rows
from mlla.yolo.control_rows import CONVOLUTION_LIKE, PlainConvolutions
from mlla.yolo.fused_row import FusedRow
from mlla.yolo.multiscale_attention_rows import MultiscaleAttention
from mlla.yolo.register import (
    check_parser,
    register_scaled,
    register_unscaled,
    warn_if_untested,
)
from mlla.yolo.row_parts import (
    HEAD_DIM,
    gate_parameter,
    gated,
    mlla_blocks,
    refuse_repeats,
    split_and_join,
    to_grid,
    to_map,
)
from mlla.yolo.user_block import user_block


@register_scaled
class MLLABlocks(FusedRow):
    """MLLA blocks in sequence, keeping the width: `[from, repeats, MLLABlocks, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; must equal the input's.
        num_blocks: Number of blocks.
        head_dim: Channels per attention head; must divide the width.
        gate: "none", or "zero" as in `Inserted`.

    Raises:
        ValueError: If the widths differ or do not split into heads, or the gate is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int = 1,
        head_dim: int = HEAD_DIM,
        gate: str = "none",
    ) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ValueError(
                f"MLLABlocks keeps its width, but the row asks for {out_channels} channels and "
                f"gets {in_channels}; write the width of the row it reads from"
            )
        self.blocks = nn.Sequential(*mlla_blocks("MLLABlocks", out_channels, num_blocks, head_dim))
        self.gate = gate_parameter(gate, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Refine the map."""
        return gated(x, to_map(self.blocks(to_grid(x))), self.gate)


@register_scaled
class C2fMLLA(FusedRow):
    """C2f whose inner units are MLLA blocks: `[from, repeats, C2fMLLA, [width]]`.

    Its outer convolutions have the names and shapes of C2f's, so they keep pretrained weights.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        num_blocks: Number of blocks.
        expansion: Width of the blocks as a fraction of `out_channels`.
        head_dim: Channels per attention head; must divide the width of the blocks.

    Raises:
        ValueError: If `expansion` is not a positive number (C2f's third argument, `shortcut`, has
            no meaning here) or the blocks' width does not split into heads.
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
        if isinstance(expansion, bool) or not expansion > 0:
            raise ValueError(
                f"C2fMLLA got expansion={expansion!r}, which must be a positive number such as "
                "0.5; it takes no shortcut argument, since MLLA blocks are residual themselves"
            )
        self.width = int(out_channels * expansion)
        self.cv1 = Conv(in_channels, 2 * self.width, 1)
        self.cv2 = Conv((2 + num_blocks) * self.width, out_channels, 1)
        self.m = nn.ModuleList(mlla_blocks("C2fMLLA", self.width, num_blocks, head_dim))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        """Send half of the channels through the blocks and join every intermediate result."""
        return split_and_join(x, self.cv1, self.m, self.cv2)


@register_scaled
class MLLAStem(FusedRow):
    """MLLA's stem, from the image to a quarter of its size: `[-1, 1, MLLAStem, [width]]`.

    Args:
        in_channels: Channels of the image.
        out_channels: Width of the output.
        repeats: Must be 1.

    Raises:
        ValueError: If `repeats` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1) -> None:
        super().__init__()
        refuse_repeats("MLLAStem", repeats)
        self.stem = Stem(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Embed patches."""
        return to_map(self.stem(x))


@register_scaled
class MLLADownsample(FusedRow):
    """MLLA's downsampling by two: `[-1, 1, MLLADownsample, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output.
        repeats: Must be 1.

    Raises:
        ValueError: If `repeats` is not 1.
    """

    def __init__(self, in_channels: int, out_channels: int, repeats: int = 1) -> None:
        super().__init__()
        refuse_repeats("MLLADownsample", repeats)
        self.downsample = Downsample(in_channels, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Halve height and width."""
        return to_map(self.downsample(to_grid(x)))


@register_scaled
class MLLAFeatures(FusedRow):
    """A published MLLA as whole backbone: `[-1, 1, MLLAFeatures, [width, mlla_tiny, [1, 2, 3]]]`.

    Returns the list of its stages (strides 4, 8, 16, 32), from which `Index` rows pick. Load
    published weights with `mlla.load_published(model.model.model[0].backbone, state_dict)`.

    Args:
        in_channels: Channels of the image.
        out_channels: Not used: the variant sets the widths, `Index` rows state them.
        repeats: Must be 1.
        variant: timm name of the model.
        stages: Which of the stages 0 to 3 to return; the norms of the others are left out.
        drop_path_rate: Stochastic depth of the last block while training.

    Raises:
        ValueError: If `repeats` is not 1 or the variant is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        variant: str = "mlla_tiny",
        stages: Sequence[int] = (0, 1, 2, 3),
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        refuse_repeats("MLLAFeatures", repeats)
        # importing timm takes seconds, and only this row needs it
        from mlla.models import timm_entrypoints as family

        if variant not in family.default_cfgs:
            raise ValueError(
                f"variant={variant!r} is unknown; choose from {', '.join(family.default_cfgs)}"
            )
        self.backbone = getattr(family, variant)(
            features_only=True,
            stage_norm=True,
            out_indices=tuple(stages),
            in_chans=in_channels,
            drop_path_rate=drop_path_rate,
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> list[Tensor]:
        """Return the normalised outputs of the stages."""
        return self.backbone(x)


@register_unscaled
class Inserted(nn.Module):
    """A block that `plug` put into a finished network: `[row, 1, Inserted, [c, c, block, gate]]`.

    With the zero gate, y = x + gate * (block(x) - x) and the gate starts at 0, one number per
    channel: the network computes what it did before, bit for bit, until the gate learns.

    Args:
        width: Width of the row it reads from.
        block: Name of the block; see `INSERTABLE`. Or "package.module.Class" for one of the user,
            and "conv_like_..." for convolutions that control for something else.
        gate: "zero", or "none" for y = block(x).
        *arguments: Further arguments of the block.

    Raises:
        ValueError: If the block or the gate is unknown, or the block does not fit the width.
    """

    def __init__(self, width: int, block: str, gate: str, *arguments: int) -> None:
        super().__init__()
        if block in INSERTABLE:
            self.block = INSERTABLE[block](width, width, *arguments)
        elif block.startswith(CONVOLUTION_LIKE):
            self.block = PlainConvolutions(width, width, *arguments)
        elif "." in block:
            self.block = user_block(":".join(block.rsplit(".", 1))).build(width)
        else:
            raise ValueError(f"block={block!r} is unknown; choose from {list(INSERTABLE)}")
        self.gate = gate_parameter(gate, width)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Add the gated change of the block."""
        return gated(x, self.block(x), self.gate)


INSERTABLE: dict[str, type[nn.Module]] = {
    "mlla": MLLABlocks,
    "multiscale_attention": MultiscaleAttention,
    # the controls of comparisons; how wide the convolutions are stands in the row
    "identity": nn.Identity,
    "conv_like_mlla": PlainConvolutions,
    "conv_like_multiscale_attention": PlainConvolutions,
}


check_parser()
warn_if_untested()
# what ULTRALYTICS_SAFE_LOAD=1 may then build from a checkpoint, besides the classes it knows
torch.serialization.add_safe_globals(
    [
        *(MLLABlocks, C2fMLLA, MLLAStem, MLLADownsample, Inserted),
        *(MLLABlock, GatedLinearAttention, LinearAttention, MLP, StochasticDepth),
        *(Stem, Downsample, ConvNorm, FixedBatchNorm2d),
    ]
)
