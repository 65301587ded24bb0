"""Mamba-YOLO's local spatial block."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3


class LocalSpatial(nn.Module):
    """Look at each pixel's neighbours, then at each pixel alone, and add the pixel itself.

    The batch normalisation is the plain one, whose eps and momentum Ultralytics sets when it
    builds a detector, as it does in the published one.

    Args:
        dim: Width C.

    Source: arXiv 2406.05835, section 3 (LS block); LSBlock in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.neighbours = depthwise_conv3x3(dim)
        self.norm = nn.BatchNorm2d(dim)
        self.expand = nn.Linear(dim, dim)
        self.contract = nn.Linear(dim, dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid with what is near."""
        near = convolve_grid(self.norm, convolve_grid(self.neighbours, x))
        return x + self.contract(functional.gelu(self.expand(near)))
