"""Modules with weights on channels-last grids."""

from mlla.layers.conv_norm import ConvNorm
from mlla.layers.core_design import CoreDesign
from mlla.layers.downsample import Downsample
from mlla.layers.four_way_scan import FourWayScan
from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.layers.gated_unified_attention import GatedUnifiedAttention
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.learned_positions import LearnedPositions
from mlla.layers.linear_attention import LinearAttention
from mlla.layers.local_spatial import LocalSpatial
from mlla.layers.mamba_yolo_downsample import MambaYOLODownsample
from mlla.layers.mamba_yolo_ss2d import MambaYOLOSS2D
from mlla.layers.mamba_yolo_stem import MambaYOLOStem
from mlla.layers.mlp import MLP
from mlla.layers.multiscale_attention import EfficientMultiscaleAttention
from mlla.layers.patch_embedding import PatchEmbedding
from mlla.layers.patch_expanding import PatchExpanding
from mlla.layers.patch_merging import PatchMerging
from mlla.layers.pointwise_conv_norm import PointwiseConvNorm
from mlla.layers.residual_gated_mlp import ResidualGatedMLP
from mlla.layers.selective_steps import SelectiveSteps
from mlla.layers.stem import Stem
from mlla.layers.unified_attention import UnifiedAttention
from mlla.layers.vm_unet_ss2d import VMUNetSS2D

__all__ = [
    "MLP",
    "ConvNorm",
    "CoreDesign",
    "Downsample",
    "EfficientMultiscaleAttention",
    "FourWayScan",
    "GatedLinearAttention",
    "GatedUnifiedAttention",
    "LearnedPositions",
    "LinearAttention",
    "LocalSpatial",
    "MambaYOLODownsample",
    "MambaYOLOSS2D",
    "MambaYOLOStem",
    "PatchEmbedding",
    "PatchExpanding",
    "PatchMerging",
    "PointwiseConvNorm",
    "ResidualGatedMLP",
    "SelectiveSteps",
    "Stem",
    "UnifiedAttention",
    "VMUNetSS2D",
    "convolve_grid",
    "depthwise_conv3x3",
]
