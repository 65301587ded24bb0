"""Zero padding of grids up to a multiple, for layers that halve the resolution."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mlla.ops.tracing import is_tracing


def pad_grid_to_multiple(
    grid: Float[Tensor, "B H W C"], multiple: int
) -> Float[Tensor, "B paddedH paddedW C"]:
    """Append zero rows and columns until height and width are multiples of `multiple`.

    Args:
        grid: Any grid.
        multiple: What both sizes must be divisible by, at least 1.

    Returns:
        The padded grid; `grid` itself, not a copy, if nothing is missing.

    Raises:
        ValueError: If `multiple` is less than 1.
    """
    if multiple < 1:
        raise ValueError(f"multiple={multiple} must be at least 1")
    height, width = grid.shape[1:3]
    # written so that symbolic sizes of exported graphs cancel; `-height % multiple` piles up
    missing_rows = (height + multiple - 1) // multiple * multiple - height
    missing_columns = (width + multiple - 1) // multiple * multiple - width
    # a branch on the size would freeze a traced or exported graph at this resolution
    if torch.compiler.is_compiling() or is_tracing() or missing_rows or missing_columns:
        return functional.pad(grid, (0, 0, 0, missing_columns, 0, missing_rows))
    return grid
