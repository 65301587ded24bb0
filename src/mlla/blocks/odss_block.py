"""Mamba-YOLO's ODSS block."""

from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.local_spatial import LocalSpatial
from mlla.layers.mamba_yolo_ss2d import MambaYOLOSS2D
from mlla.layers.pointwise_conv_norm import PointwiseConvNorm
from mlla.layers.residual_gated_mlp import ResidualGatedMLP


class ODSSBlock(nn.Module):
    """A projection, then a four-way scan of what a local block saw, and a gated MLP.

    Its authors' code calls it VSSBlock, which it is not: the VSS blocks of VMamba and VM-UNet have
    neither the projection nor the local block, and other insides.

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.

    Source: arXiv 2406.05835, section 3 (ODSS block); VSSBlock in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.project = PointwiseConvNorm(in_dim, out_dim, bias=True)
        self.local_spatial = LocalSpatial(out_dim)
        self.scan_norm = nn.LayerNorm(out_dim, eps=1e-6)
        self.scan = MambaYOLOSS2D(out_dim)
        self.mlp_norm = nn.LayerNorm(out_dim, eps=1e-6)
        self.mlp = ResidualGatedMLP(out_dim)

    def forward(self, x: Float[Tensor, "B H W in_dim"]) -> Float[Tensor, "B H W out_dim"]:
        """Refine the grid."""
        x = self.project(x)
        x = x + self.scan(self.scan_norm(self.local_spatial(x)))
        return x + self.mlp(self.mlp_norm(x))
