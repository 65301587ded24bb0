"""A block of linear attention in the three designs that the paper compares."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mlla.layers.core_design import CoreDesign
from mlla.layers.gated_unified_attention import GatedUnifiedAttention
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear import linear
from mlla.layers.mlp import MLP
from mlla.layers.unified_attention import UnifiedAttention

#: Of the two designs that are Mamba's, how much wider its branches are than the block.
EXPANSIONS = {"all": 2, "sub": 1}
BLOCK_DESIGNS = ("attention", *EXPANSIONS)


class SixDesignsBlock(nn.Module):
    """Unified attention in a transformer block, in Mamba's block, or in a mixture of both.

    Args:
        dim: Width C.
        num_heads: Number of heads.
        design: The switches of the attention, and the position encodings.
        block_design: "attention": projections to queries, keys and values, attention, a projection;
            then an MLP. "sub": Mamba's design at expansion 1 instead of the first half. "all":
            Mamba's design at expansion 2 instead of both halves.
        mlp_ratio: Width of the MLP as a multiple of `dim`.
        kernel_size: Side of the depthwise convolution of "sub" and "all", odd.
        grid_size: Rows and columns of the table of "ape".
        drop_path: Probability in [0, 1) of skipping a branch for a sample while training.

    Raises:
        ValueError: If `block_design` is unknown, `mlp_ratio` is not positive, `drop_path` is
            outside [0, 1), or as in `UnifiedAttention` and `GatedUnifiedAttention`.

    Source: arXiv 2405.16605, figure 3 and section 5.2.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        design: CoreDesign | None = None,
        *,
        block_design: str = "attention",
        mlp_ratio: float = 4.0,
        kernel_size: int = 5,
        grid_size: tuple[int, int] = (14, 14),
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        design = CoreDesign() if design is None else design
        if block_design not in BLOCK_DESIGNS:
            raise ValueError(f"block_design={block_design!r} must be one of {BLOCK_DESIGNS}")
        if not mlp_ratio > 0:
            raise ValueError(f"mlp_ratio={mlp_ratio} must be positive; the paper uses 4.0")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path} must be a probability in [0, 1)")
        has_cpe = "cpe" in design.positions
        self.position_before_attention = depthwise_conv3x3(dim) if has_cpe else None
        self.attention_norm = nn.LayerNorm(dim)
        if block_design == "attention":
            self.token_mixer: nn.Module = nn.Sequential(
                UnifiedAttention(
                    dim, num_heads, design, value_projection=True, grid_size=grid_size
                ),
                linear(dim, dim),
            )
        else:
            self.token_mixer = GatedUnifiedAttention(
                dim,
                num_heads,
                design,
                expansion=EXPANSIONS[block_design],
                kernel_size=kernel_size,
                grid_size=grid_size,
            )
        has_mlp = block_design != "all"
        self.mlp_norm = nn.LayerNorm(dim) if has_mlp else None
        self.mlp = MLP(dim, int(dim * mlp_ratio)) if has_mlp else None
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        if self.position_before_attention is not None:
            x = x + convolve_grid(self.position_before_attention, x)
        x = x + self.drop_path(self.token_mixer(self.attention_norm(x)))
        if self.mlp is not None and self.mlp_norm is not None:
            x = x + self.drop_path(self.mlp(self.mlp_norm(x)))
        return x
