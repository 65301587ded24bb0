"""Mamba's block design around unified attention."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.core_design import CoreDesign
from mlla.layers.grid_conv import convolve_grid
from mlla.layers.linear import linear
from mlla.layers.unified_attention import UnifiedAttention


class GatedUnifiedAttention(nn.Module):
    """A projection, a depthwise convolution, SiLU and attention, gated by a second projection.

    Args:
        dim: Width C.
        num_heads: Number of heads.
        design: The switches of the attention.
        expansion: Width of both branches as a multiple of C, "E" in the paper.
        kernel_size: Side of the depthwise convolution, odd.
        grid_size: Rows and columns of the table of "ape".

    Raises:
        ValueError: If `expansion` is not positive, `kernel_size` is even, or as
            `UnifiedAttention`.

    Source: arXiv 2405.16605, figure 3 and section 5.2.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        design: CoreDesign | None = None,
        *,
        expansion: int = 1,
        kernel_size: int = 3,
        grid_size: tuple[int, int] = (14, 14),
    ) -> None:
        super().__init__()
        if expansion < 1:
            raise ValueError(f"expansion={expansion} must be at least 1")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd, so that padding is symmetric")
        inner_dim = expansion * dim
        self.input_projection = linear(dim, inner_dim)
        self.gate_projection = linear(dim, inner_dim)
        self.local_mixing = nn.Conv2d(
            inner_dim, inner_dim, kernel_size, padding=kernel_size // 2, groups=inner_dim
        )
        self.attention = UnifiedAttention(inner_dim, num_heads, design, grid_size=grid_size)
        self.output_projection = linear(inner_dim, dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Mix tokens and gate the result."""
        gate = functional.silu(self.gate_projection(x))
        mixed = functional.silu(convolve_grid(self.local_mixing, self.input_projection(x)))
        return self.output_projection(self.attention(mixed) * gate)
