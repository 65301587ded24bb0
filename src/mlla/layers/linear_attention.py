"""MLLA's linear attention with its weights."""

from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear import linear
from mlla.ops.linear_attention import projected_linear_attention


class LinearAttention(nn.Module):
    """Linear attention with ELU+1 features, 2-D rotary positions and LePE.

    Queries and keys come from one projection; the input itself is the value. LePE, a depthwise
    convolution of the value, adds local positions to the output.

    Args:
        dim: Width C, a multiple of 4 and of `num_heads`.
        num_heads: Number of heads.

    Raises:
        ValueError: If the width does not split into heads or into rotary pairs.

    Source: arXiv 2405.16605, section 4.2; LinearAttention in LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(
                f"dim={dim} does not split into num_heads={num_heads} heads; "
                "choose a width divisible by the number of heads"
            )
        if dim < 4 or dim % 4:
            raise ValueError(
                f"dim={dim} is not a positive multiple of 4, which the rotary positions of rows "
                f"and columns need; the next one is {max(4, dim + -dim % 4)}"
            )
        self.num_heads = num_heads
        self.query_key = linear(dim, 2 * dim)
        self.local_position = depthwise_conv3x3(dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Attend over all positions of the grid."""
        attended = projected_linear_attention(self.query_key(x), x, num_heads=self.num_heads)
        return attended + convolve_grid(self.local_position, x)

    def extra_repr(self) -> str:
        """Show the width and the number of heads."""
        return f"dim={self.query_key.in_features}, num_heads={self.num_heads}"
