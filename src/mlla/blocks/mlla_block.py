"""The MLLA block."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.layers.grid_conv import add_convolved, depthwise_conv3x3
from mlla.layers.mlp import MLP


class MLLABlock(nn.Module):
    """Gated linear attention and an MLP, each after a conditional position encoding.

    Args:
        dim: Width C, a multiple of 4 and of `num_heads`.
        num_heads: Number of heads.
        mlp_ratio: Width of the MLP as a multiple of `dim`.
        drop_path: Probability in [0, 1) of skipping a branch for a sample while training.

    Raises:
        ValueError: If the width does not split into heads or rotary pairs, `mlp_ratio` is not
            positive or `drop_path` is outside [0, 1).

    Source: arXiv 2405.16605, figure 3; MLLABlock in LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(
        self, dim: int, num_heads: int, *, mlp_ratio: float = 4.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if not mlp_ratio > 0:
            raise ValueError(f"mlp_ratio={mlp_ratio} must be positive; the paper uses 4.0")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path} must be a probability in [0, 1)")
        self.position_before_attention = depthwise_conv3x3(dim)
        self.attention_norm = nn.LayerNorm(dim)
        self.gated_attention = GatedLinearAttention(dim, num_heads)
        self.position_before_mlp = depthwise_conv3x3(dim)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = MLP(dim, int(dim * mlp_ratio))
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        x = add_convolved(self.position_before_attention, x)
        x = x + self.drop_path(self.gated_attention(self.attention_norm(x)))
        x = add_convolved(self.position_before_mlp, x)
        return x + self.drop_path(self.mlp(self.mlp_norm(x)))
