# SPDX-License-Identifier: AGPL-3.0-only
"""The block that tells whether attention helped or merely more parameters: plain convolutions.

Its name is part of the file format; see `rows`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from ultralytics.nn.modules import Conv

# how the names of blocks that imitate another begin: conv_like_mlla, conv_like:module:Class
CONVOLUTION_LIKE = "conv_like"
# how far a count may be off before a finer form is tried
TOLERANCE = 0.01


class PlainConvolutions(nn.Module):
    """Two convolutions with norm and SiLU around a shortcut, as in YOLO's bottleneck.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output; must equal the input's.
        hidden: Channels between the two convolutions.
        second_kernel: Size of the second kernel, 3 or 1; the first is 3.
        shared_by: Number of equal parts that the channels are split into; all parts share one pair
            of convolutions, as the groups of multi-scale attention do.

    Raises:
        ValueError: If the widths differ or do not split into the parts, or there is no hidden
            channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int = 0,
        second_kernel: int = 3,
        shared_by: int = 1,
    ) -> None:
        super().__init__()
        if in_channels != out_channels or in_channels % shared_by:
            raise ValueError(
                f"plain convolutions keep their width and split it into shared_by={shared_by} "
                f"equal parts, but get {in_channels} and are to make {out_channels} channels"
            )
        if hidden < 1:
            raise ValueError(
                f"plain convolutions got hidden={hidden}; `mlla plug` finds the number of hidden "
                "channels that matches another block"
            )
        width = in_channels // shared_by
        self.shared_by = shared_by
        self.first = Conv(width, hidden, 3)
        self.second = Conv(hidden, width, second_kernel)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Add what the convolutions see."""
        if self.shared_by == 1:
            return x + self.second(self.first(x))
        batch, channels, height, width = x.shape
        parts = x.reshape(batch * self.shared_by, channels // self.shared_by, height, width)
        return x + self.second(self.first(parts)).reshape(batch, channels, height, width)


def match_parameters(num_parameters: int, width: int) -> tuple[int, int, int]:
    """Find the plain convolutions whose parameters come closest to a number.

    Two 3x3 convolutions if some hidden width brings them within 1 %; else 3x3 and 1x1, whose count
    can be set more finely; else both with weights that two parts of the channels share, four and so
    on, since blocks such as multi-scale attention have fewer parameters than a single hidden
    channel over the whole width. If nothing is within 1 %, the closest.

    Args:
        num_parameters: The number to match.
        width: Width of the map.

    Returns:
        Arguments of `PlainConvolutions`: hidden, second_kernel and shared_by.

    Raises:
        ValueError: If the number is not positive.
    """
    if num_parameters < 1:
        raise ValueError(
            f"plain convolutions cannot have {num_parameters} parameters; the control of a block "
            "without parameters is 'identity'"
        )
    forms = []
    for shared_by in (part for part in range(1, width + 1) if width % part == 0):
        for second_kernel in (3, 1):
            part = width // shared_by
            # a hidden channel has two kernels and two numbers of the norm; the rest is a norm
            per_channel, rest = part * (9 + second_kernel**2) + 2, 2 * part
            hidden = max(1, round((num_parameters - rest) / per_channel))
            error = abs(hidden * per_channel + rest - num_parameters) / num_parameters
            if error <= TOLERANCE:
                return hidden, second_kernel, shared_by
            forms.append((error, (hidden, second_kernel, shared_by)))
    return min(forms)[1]


# what ULTRALYTICS_SAFE_LOAD=1 may build from a checkpoint
torch.serialization.add_safe_globals([PlainConvolutions])
