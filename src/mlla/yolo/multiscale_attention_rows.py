# SPDX-License-Identifier: AGPL-3.0-only
"""The row of efficient multi-scale attention. Its name is part of the file format; see `rows`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.multiscale_attention import EfficientMultiscaleAttention
from mlla.yolo.register import register_scaled
from mlla.yolo.row_parts import gate_parameter, gated, refuse_repeats


@register_scaled
class MultiscaleAttention(nn.Module):
    """Efficient multi-scale attention at constant width: `[-1, 1, MultiscaleAttention, [width]]`.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; must equal the input's.
        repeats: Must be 1.
        num_groups: Groups of channels; must divide the width.
        gate: "none", or "zero" as in `Inserted`.

    Raises:
        ValueError: If the widths differ or do not split into groups, `repeats` is not 1, or the
            gate is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        repeats: int = 1,
        num_groups: int = 32,
        gate: str = "none",
    ) -> None:
        super().__init__()
        refuse_repeats("MultiscaleAttention", repeats)
        if in_channels != out_channels:
            raise ValueError(
                f"MultiscaleAttention keeps its width, but the row asks for {out_channels} "
                f"channels and gets {in_channels}; write the width of the row it reads from"
            )
        self.attention = EfficientMultiscaleAttention(out_channels, num_groups=num_groups)
        self.gate = gate_parameter(gate, out_channels)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Weigh the pixels of the map."""
        # a view: the attention works on maps and would undo a copy
        weighted = self.attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return gated(x, weighted, self.gate)


# what ULTRALYTICS_SAFE_LOAD=1 may build from a checkpoint
torch.serialization.add_safe_globals([MultiscaleAttention, EfficientMultiscaleAttention])
