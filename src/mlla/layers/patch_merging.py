"""The step down between two stages of VM-UNet."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.linear import linear
from mlla.ops.grid_padding import pad_grid_to_multiple


class PatchMerging(nn.Module):
    """Halve a grid by joining 2x2 neighbours, and double its width.

    Odd sides get a zero row or column at the end first.

    Args:
        dim: Width C of the input.

    Source: PatchMerging2D in JCruan519/VM-UNet @43c495b.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduce = linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w 2*C"]:
        """Return a grid with half the sides, rounded up."""
        x = pad_grid_to_multiple(x, 2)
        # the four places of a neighbourhood, column by column
        places = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduce(self.norm(torch.cat(places, dim=-1)))
