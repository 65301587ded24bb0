"""Modules with weights on channels-last grids."""

from mlla.layers.conv_norm import ConvNorm
from mlla.layers.downsample import Downsample
from mlla.layers.four_way_scan import FourWayScan
from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear_attention import LinearAttention
from mlla.layers.mlp import MLP
from mlla.layers.stem import Stem

__all__ = [
    "MLP",
    "ConvNorm",
    "Downsample",
    "FourWayScan",
    "GatedLinearAttention",
    "LinearAttention",
    "Stem",
    "convolve_grid",
    "depthwise_conv3x3",
]
