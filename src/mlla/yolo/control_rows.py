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
        num_parts: Number of equal parts of the channels, which share one pair of convolutions, as
            the groups of multi-scale attention do.
        part_width: Channels of a part; by default as many as there are. Channels behind the last
            part pass unchanged.

    Raises:
        ValueError: If the widths differ or do not hold the parts, or there is no hidden channel.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        hidden: int = 0,
        second_kernel: int = 3,
        num_parts: int = 1,
        part_width: int | None = None,
    ) -> None:
        super().__init__()
        if in_channels != out_channels:
            raise ValueError(
                f"plain convolutions keep their width, but get {in_channels} channels and are to "
                f"make {out_channels}"
            )
        if hidden < 1:
            raise ValueError(
                f"plain convolutions got hidden={hidden}; `mlla plug` finds the number of hidden "
                "channels that matches another block"
            )
        width = in_channels // num_parts if part_width is None else part_width
        if width < 1 or num_parts * width > in_channels:
            raise ValueError(
                f"{in_channels} channels do not hold num_parts={num_parts} parts of "
                f"part_width={part_width}"
            )
        self.num_parts = num_parts
        self.first = Conv(width, hidden, 3)
        self.second = Conv(hidden, width, second_kernel)
        self.passing = in_channels - num_parts * width

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Add what the convolutions see."""
        if self.passing:
            seen, passing = x[:, : -self.passing], x[:, -self.passing :]
            return torch.cat([seen + self._residual(seen), passing], dim=1)
        return x + self._residual(x)

    def _residual(self, x: Tensor) -> Tensor:
        if self.num_parts == 1:
            return self.second(self.first(x))
        batch, channels, height, width = x.shape
        parts = x.reshape(batch * self.num_parts, channels // self.num_parts, height, width)
        return self.second(self.first(parts)).reshape(batch, channels, height, width)


def match_parameters(num_parameters: int, width: int) -> tuple[int, int, int, int]:
    """Find the plain convolutions whose parameters come within 1 % of a number.

    Two 3x3 convolutions of the whole width if some number of hidden channels fits; else 3x3 and
    1x1, whose count can be set more finely. Blocks such as multi-scale attention have fewer
    parameters than a single hidden channel of these; then as many channels as possible are seen, in
    as few parts as possible, with at most twice as many hidden channels as a part has. If nothing
    comes within 1 %, the closest.

    Args:
        num_parameters: The number to match.
        width: Width of the map.

    Returns:
        Arguments of `PlainConvolutions`: hidden, second_kernel, num_parts and part_width.

    Raises:
        ValueError: If the number is not positive.
    """
    if num_parameters < 1:
        raise ValueError(
            f"plain convolutions cannot have {num_parameters} parameters; the control of a block "
            "without parameters is 'identity'"
        )
    forms = []
    for part in range(width, 0, -1):
        for second_kernel in (3, 1):
            # a hidden channel has two kernels and two numbers of the norm; the rest is a norm
            per_channel, rest = part * (9 + second_kernel**2) + 2, 2 * part
            hidden = max(1, round((num_parameters - rest) / per_channel))
            if part == width or hidden <= 2 * part:
                error = abs(hidden * per_channel + rest - num_parameters) / num_parameters
                num_parts = width // part
                fits = error <= TOLERANCE
                order = (not fits, -num_parts * part if fits else error, num_parts, -second_kernel)
                forms.append((order, (hidden, second_kernel, num_parts, part)))
    return min(forms)[1]


# what ULTRALYTICS_SAFE_LOAD=1 may build from a checkpoint
torch.serialization.add_safe_globals([PlainConvolutions])
