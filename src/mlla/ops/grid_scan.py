"""Reading a grid as sequences: by rows, by columns, and both backwards."""

import torch
from jaxtyping import Float
from torch import Tensor

NUM_SCANS = 4


def grid_scan(grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B 4 H*W C"]:
    """Read a grid in four orders.

    Args:
        grid: Any grid.

    Returns:
        Its tokens by rows, by columns, by rows backwards and by columns backwards.

    Source: arXiv 2401.10166, section 4.2 (cross-scan), in the order of its code.
    """
    rows, columns = grid.flatten(1, 2), grid.transpose(1, 2).flatten(1, 2)
    return torch.stack([rows, columns, rows.flip(1), columns.flip(1)], dim=1)


def grid_unscan(
    sequences: Float[Tensor, "B 4 L C"], height: int, width: int
) -> Float[Tensor, "B 4 H W C"]:
    """Put the tokens of `grid_scan` back into their places, one grid for each order.

    Args:
        sequences: Tokens in the four orders of `grid_scan`.
        height: Rows of the grid.
        width: Columns of the grid.

    Returns:
        Four grids. `grid_unscan(grid_scan(grid), H, W)[:, k]` is `grid` for every k.
    """
    rows, columns, rows_back, columns_back = sequences.unbind(1)
    return torch.stack(
        [
            rows.unflatten(1, (height, width)),
            columns.unflatten(1, (width, height)).transpose(1, 2),
            rows_back.flip(1).unflatten(1, (height, width)),
            columns_back.flip(1).unflatten(1, (width, height)).transpose(1, 2),
        ],
        dim=1,
    )


def grid_unscan_sum(
    sequences: Float[Tensor, "B 4 L C"], height: int, width: int
) -> Float[Tensor, "B H W C"]:
    """Add the four grids of `grid_unscan` without writing them out.

    Args:
        sequences: Tokens in the four orders of `grid_scan`.
        height: Rows of the grid.
        width: Columns of the grid.

    Returns:
        The sum of the grids.
    """
    rows, columns, rows_back, columns_back = sequences.unbind(1)
    by_rows = (rows + rows_back.flip(1)).unflatten(1, (height, width))
    by_columns = (columns + columns_back.flip(1)).unflatten(1, (width, height))
    return by_rows + by_columns.transpose(1, 2)
