"""A projection of every pixel, normalised over the batch and activated."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.grid_conv import convolve_grid


class PointwiseConvNorm(nn.Module):
    """A linear layer on pixels, batch normalisation and SiLU: how Mamba-YOLO changes widths.

    The batch normalisation is the plain one, whose eps and momentum Ultralytics sets when it
    builds a detector, as it does in the published one.

    Args:
        in_dim: Input width.
        out_dim: Output width.
        bias: Whether the layer has a bias, which the normalisation makes redundant; parts of the
            published model have one nevertheless.
    """

    def __init__(self, in_dim: int, out_dim: int, *, bias: bool) -> None:
        super().__init__()
        self.projection = nn.Linear(in_dim, out_dim, bias=bias)
        self.norm = nn.BatchNorm2d(out_dim)

    def forward(self, x: Float[Tensor, "B H W in_dim"]) -> Float[Tensor, "B H W out_dim"]:
        """Project, normalise and activate."""
        return functional.silu(convolve_grid(self.norm, self.projection(x)))
