"""Convolutions on channels-last grids without copies."""

from jaxtyping import Float
from torch import Tensor, nn


def convolve_grid(conv: nn.Module, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
    """Apply an NCHW module to a grid.

    A contiguous grid viewed as NCHW is a channels-last tensor, which convolutions take as it is.
    """
    return conv(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def depthwise_conv3x3(channels: int, *, stride: int = 1) -> nn.Conv2d:
    """Build the 3x3 depthwise convolution that MLLA uses for positions and local mixing."""
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)
