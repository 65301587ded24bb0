"""Mamba-YOLO's residual gated block, which takes the place of the MLP."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3


class ResidualGatedMLP(nn.Module):
    """Gate one half of a projection with the other, which has seen its neighbours.

    Between the projections there are 8/3 x `dim` channels, so that with the gate there are about
    as many weights as in an MLP of ratio 4.

    Args:
        dim: Width C.

    Source: arXiv 2406.05835, section 3 (RG block); RGBlock in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 8 * dim // 3
        self.expand = nn.Linear(dim, 2 * hidden)
        self.neighbours = depthwise_conv3x3(hidden)
        self.contract = nn.Linear(hidden, dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Transform each pixel, gated by its surroundings."""
        gate, value = self.expand(x).chunk(2, dim=-1)
        gate = functional.gelu(gate + convolve_grid(self.neighbours, gate))
        return self.contract(gate * value)
