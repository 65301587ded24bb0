"""The token-wise half of a block."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.linear import linear


class MLP(nn.Module):
    """Two projections with GELU between them.

    Args:
        dim: Width C.
        hidden_dim: Width between the projections.
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = linear(dim, hidden_dim)
        self.contract = linear(hidden_dim, dim)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Transform each token on its own."""
        return self.contract(functional.gelu(self.expand(x)))
