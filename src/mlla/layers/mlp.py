"""The token-wise half of a block."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.linear import linear
from mlla.layers.plain_module import is_plain
from mlla.ops.lean_linear import gelu_linear


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
        hidden = self.expand(x)
        if is_plain(self.contract, nn.Linear):
            return gelu_linear(hidden, self.contract.weight, self.contract.bias)
        return self.contract(functional.gelu(hidden))
