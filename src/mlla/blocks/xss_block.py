"""Mamba-YOLO's XSS block."""

from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.local_spatial import LocalSpatial
from mlla.layers.mamba_yolo_ss2d import MambaYOLOSS2D
from mlla.layers.pointwise_conv_norm import PointwiseConvNorm
from mlla.layers.residual_gated_mlp import ResidualGatedMLP


class XSSBlock(nn.Module):
    """The block of Mamba-YOLO's neck: like `ODSSBlock`, with several scans in sequence.

    There is a projection only where the widths differ, and it has no bias.

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.
        num_scans: Number of four-way scans, one after the other.

    Raises:
        ValueError: If there is no scan.

    Source: arXiv 2406.05835, section 3; XSSBlock in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, in_dim: int, out_dim: int, num_scans: int = 1) -> None:
        super().__init__()
        if num_scans < 1:
            raise ValueError(f"num_scans={num_scans} must be at least 1")
        self.project = (
            nn.Identity() if in_dim == out_dim else PointwiseConvNorm(in_dim, out_dim, bias=False)
        )
        self.local_spatial = LocalSpatial(out_dim)
        self.scan_norm = nn.LayerNorm(out_dim, eps=1e-6)
        self.scans = nn.Sequential(*(MambaYOLOSS2D(out_dim) for _ in range(num_scans)))
        self.mlp_norm = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = ResidualGatedMLP(out_dim)

    def forward(self, x: Float[Tensor, "B H W in_dim"]) -> Float[Tensor, "B H W out_dim"]:
        """Refine the grid."""
        x = self.project(x)
        x = x + self.scans(self.scan_norm(self.local_spatial(x)))
        return x + self.mlp(self.mlp_norm(x))
