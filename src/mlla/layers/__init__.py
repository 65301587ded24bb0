"""Modules with weights on channels-last grids."""

from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear_attention import LinearAttention
from mlla.layers.mlp import MLP

__all__ = ["MLP", "GatedLinearAttention", "LinearAttention", "convolve_grid", "depthwise_conv3x3"]
