"""The attention half of an MLLA block: projection, local mixing, attention, gate."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear import linear
from mlla.layers.linear_attention import LinearAttention
from mlla.layers.plain_module import is_plain
from mlla.ops.lean_linear import gated_linear


class GatedLinearAttention(nn.Module):
    """Mamba's block design around linear attention.

    One branch goes through a projection, a depthwise convolution, SiLU and linear attention; the
    other through a projection and SiLU, and gates the first.

    Args:
        dim: Width C, a multiple of 4 and of `num_heads`.
        num_heads: Number of heads.

    Raises:
        ValueError: As `LinearAttention`.

    Source: arXiv 2405.16605, figure 3 and section 4.2.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.input_projection = linear(dim, dim)
        self.gate_projection = linear(dim, dim)
        self.local_mixing = depthwise_conv3x3(dim)
        self.attention = LinearAttention(dim, num_heads)
        self.output_projection = linear(dim, dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Mix tokens and gate the result."""
        gate = self.gate_projection(x)
        mixed = functional.silu(convolve_grid(self.local_mixing, self.input_projection(x)))
        attended, project = self.attention(mixed), self.output_projection
        if is_plain(project, nn.Linear):
            return gated_linear(attended, gate, project.weight, project.bias)
        return project(attended * functional.silu(gate))
