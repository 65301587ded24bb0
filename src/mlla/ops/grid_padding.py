"""Zero padding of grids up to a multiple, for layers that halve the resolution."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


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
    missing_rows, missing_columns = -height % multiple, -width % multiple
    # a branch on the size would freeze a traced or exported graph at this resolution
    sizes_are_symbols = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if sizes_are_symbols or missing_rows or missing_columns:
        return functional.pad(grid, (0, 0, 0, missing_columns, 0, missing_rows))
    return grid
