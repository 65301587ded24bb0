"""Absolute position encoding: a learned vector for every place."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.ops.tracing import is_tracing


class LearnedPositions(nn.Module):
    """Add a learned vector to every token of a grid.

    Grids of another size than the table get it resized, bicubically, as is usual for vision
    transformers.

    Args:
        dim: Width C.
        grid_size: Rows and columns of the table.

    Raises:
        ValueError: If a side of the table is not positive.

    Source: arXiv 2010.11929, section 3.1.
    """

    def __init__(self, dim: int, grid_size: tuple[int, int]) -> None:
        super().__init__()
        if min(grid_size) < 1:
            raise ValueError(f"grid_size={tuple(grid_size)} must have sides of at least 1")
        self.table = nn.Parameter(torch.empty(*grid_size, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Tell every token where it is."""
        size = x.shape[1:3]
        # a branch on the size would freeze a traced graph at this resolution
        if not is_tracing() and size == self.table.shape[:2]:
            return x + self.table
        table = self.table.permute(2, 0, 1)[None]
        resized = functional.interpolate(table, size=size, mode="bicubic", align_corners=False)
        return x + resized.permute(0, 2, 3, 1)
