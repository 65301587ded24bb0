# SPDX-License-Identifier: AGPL-3.0-only
"""RT-DETR's ResNet stages with MLLA blocks: NCHW in, NCHW out.

`mlla.yolo.rows` imports this module, which registers them. Checkpoints store these classes by
their dotted names; the names are a file format and stay as they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from ultralytics.nn.modules import Conv

from mlla.yolo.fused_row import FusedRow
from mlla.yolo.register import register_unscaled
from mlla.yolo.row_parts import HEAD_DIM, gate_parameter, gated, mlla_blocks, to_grid, to_map

# outputs of a bottleneck per channel inside it, as in every ResNet of 50 layers and more
EXPANSION = 4


class ResNetBlockMLLA(nn.Module):
    """ResNet's bottleneck with an MLLA block behind its 3x3 convolution.

    Everything else has the names and shapes of Ultralytics' ResNetBlock.

    Args:
        in_channels: Width of the input.
        width: Channels inside; the output has four times as many.
        stride: Of the 3x3 convolution.
        head_dim: Channels per attention head; must divide `width`.
        gate: "zero" or "none", as in `MLLABlocks`.
    """

    def __init__(self, in_channels: int, width: int, stride: int, head_dim: int, gate: str) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.cv1 = Conv(in_channels, width, 1)
        self.cv2 = Conv(width, width, 3, stride)
        (self.block,) = mlla_blocks("ResNetLayerMLLA", width, 1, head_dim)
        self.gate = gate_parameter(gate, width)
        self.cv3 = Conv(width, out_channels, 1, act=False)
        keeps_shape = stride == 1 and in_channels == out_channels
        self.shortcut = (
            nn.Identity()
            if keeps_shape
            else nn.Sequential(Conv(in_channels, out_channels, 1, stride, act=False))
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Refine the map inside the bottleneck."""
        inside = self.cv2(self.cv1(x))
        inside = gated(inside, to_map(self.block(to_grid(inside))), self.gate)
        return torch.relu(self.cv3(inside) + self.shortcut(x))


@register_unscaled
class ResNetLayerMLLA(FusedRow):
    """ResNet's stage of bottlenecks, each with an MLLA block behind its 3x3 convolution.

    `[-1, 1, ResNetLayerMLLA, [2048, 1024, 512, 2, 3]]`: the width of the output, then the arguments
    below. It stands for `[-1, 1, ResNetLayer, [1024, 512, 2, False, 3]]` and keeps all its weights;
    with the zero gate it computes what that computes, bit for bit, until the gate learns.

    Args:
        in_channels: Width of the input.
        width: Channels inside the bottlenecks; the output has four times as many.
        stride: Of the first bottleneck.
        num_blocks: Number of bottlenecks.
        head_dim: Channels per attention head; must divide `width`.
        gate: "zero" or "none", as in `MLLABlocks`.

    Raises:
        ValueError: If `num_blocks` is not a positive number (ResNetLayer's fourth argument, which
            makes it a stem, has no meaning here), `width` does not split into heads, or the gate
            is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        num_blocks: int,
        head_dim: int = HEAD_DIM,
        gate: str = "zero",
    ) -> None:
        super().__init__()
        if isinstance(num_blocks, bool) or num_blocks < 1:
            raise ValueError(
                f"ResNetLayerMLLA got num_blocks={num_blocks!r}, which must be at least 1; unlike "
                "ResNetLayer it takes no is_first argument"
            )
        widths = [in_channels, *[EXPANSION * width] * (num_blocks - 1)]
        strides = [stride, *[1] * (num_blocks - 1)]
        self.layer = nn.Sequential(
            *(
                ResNetBlockMLLA(wide, width, step, head_dim, gate)
                for wide, step in zip(widths, strides, strict=True)
            )
        )

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Run the bottlenecks."""
        return self.layer(x)


torch.serialization.add_safe_globals([ResNetLayerMLLA, ResNetBlockMLLA])
