"""Mamba-YOLO's vision clue merge: half the resolution without losing a pixel."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.pointwise_conv_norm import PointwiseConvNorm
from mlla.ops.grid_padding import pad_grid_to_multiple


class MambaYOLODownsample(nn.Module):
    """Stack the pixels of each 2 x 2 square as channels and project them.

    Odd sides get a zero row or column at the end first.

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.

    Source: arXiv 2406.05835, section 3; VisionClueMerge in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.merge = PointwiseConvNorm(4 * in_dim, out_dim, bias=True)

    def forward(self, x: Float[Tensor, "B H W in_dim"]) -> Float[Tensor, "B h w out_dim"]:
        """Return a grid with half the sides, rounded up."""
        x = pad_grid_to_multiple(x, 2)
        # by columns of the square, the order that published weights expect
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.merge(torch.cat(corners, dim=-1))
