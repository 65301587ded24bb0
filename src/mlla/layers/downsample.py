"""The step between two stages: half the resolution, a new width."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.conv_norm import ConvNorm
from mlla.layers.grid_conv import depthwise_conv3x3, reduce_grid, relu_of_convolved
from mlla.ops.grid_padding import pad_grid_to_multiple


class Downsample(nn.Module):
    """Halve a grid with an inverted bottleneck of width 4 x `out_dim`.

    Odd sides get a zero row or column at the end first.

    Args:
        in_dim: Width of the input.
        out_dim: Width of the output.

    Source: PatchMerging in LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(in_dim, 4 * out_dim, 1)
        self.reduce = depthwise_conv3x3(4 * out_dim, stride=2)
        self.project = ConvNorm(4 * out_dim, out_dim, 1, bias=True)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Return a grid with half the sides, rounded up."""
        x = relu_of_convolved(self.expand, pad_grid_to_multiple(x, 2))
        x = functional.relu(reduce_grid(self.reduce, x))
        return self.project(x)
