"""Two-dimensional rotary position encoding over the full channel width."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.tracing import is_tracing

BASE_FREQUENCY = 10000.0


def rotate_by_position(grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
    """Rotate channel pairs by the row and the column of their token.

    The first C/4 pairs of neighbouring channels turn by the row index, the next C/4 by the
    column index, pair i of each half with frequency 10000^(-i / (C/4)). The angles are computed
    on the fly in float32 (float64 for float64 input): no table is stored, so nothing limits the
    resolution and nothing loses precision in a half-precision checkpoint.

    Args:
        grid: Queries or keys of all heads side by side, channels last.

    Returns:
        The rotated grid, same dtype.

    Raises:
        ValueError: If C is not divisible by 4.

    Source: arXiv 2405.16605, section 4.2 (RoPE); arXiv 2403.13298 for the axial form.
    """
    height, width, channels = grid.shape[1:]
    if not is_tracing() and channels % 4:
        raise ValueError(
            f"rotate_by_position needs channels divisible by 4 (pairs for rows and for columns), "
            f"got C={channels}; choose a width that is a multiple of 4"
        )
    precision = torch.promote_types(grid.dtype, torch.float32)
    row_angles, column_angles = (
        _angles(length, channels // 4, grid.device, precision) for length in (height, width)
    )
    row_half, column_half = grid.to(precision).chunk(2, dim=-1)
    rotated_rows = _rotate_pairs(row_half, row_angles[:, None, :])
    rotated_columns = _rotate_pairs(column_half, column_angles[None, :, :])
    return torch.cat((rotated_rows, rotated_columns), dim=-1).to(grid.dtype)


def position_rotations(
    height: int, width: int, channels: int, device: torch.device, precision: torch.dtype
) -> Tensor:
    """Return the complex numbers by which `rotate_by_position` multiplies pairs of channels.

    Args:
        height: Rows of the grid.
        width: Columns of the grid.
        channels: Width C of the grid, a multiple of 4.
        device: Where they are needed.
        precision: float32 or float64.

    Returns:
        A number for every token and pair, (H*W, C/2).
    """
    rows, columns = (
        axis_rotations(length, channels // 4, device, precision) for length in (height, width)
    )
    return over_grid(rows, columns)


def axis_rotations(length: int, pairs: int, device: torch.device, precision: torch.dtype) -> Tensor:
    """Return such numbers for the positions on one axis: rows turn as columns do.

    Args:
        length: Number of rows, or of columns.
        pairs: How many pairs of channels the axis turns, C/4.
        device: Where they are needed.
        precision: float32 or float64.

    Returns:
        A number for every position and pair, (length, pairs).
    """
    angles = _angles(length, pairs, device, precision)
    return torch.complex(angles.cos(), angles.sin())


def over_grid(rows: Tensor, columns: Tensor) -> Tensor:
    """Return the rotations of every token of a grid from those of its rows and columns.

    Args:
        rows: `axis_rotations` of the rows (H, C/4).
        columns: Those of the columns (W, C/4).

    Returns:
        A number for every token and pair, (H*W, C/2).
    """
    of_rows = rows[:, None].expand(-1, len(columns), -1)
    of_columns = columns.expand(len(rows), -1, -1)
    return torch.cat((of_rows, of_columns), dim=-1).flatten(0, 1)


def _angles(length: int, pairs: int, device: torch.device, precision: torch.dtype) -> Tensor:
    order = torch.arange(pairs, device=device, dtype=precision)
    positions = torch.arange(length, device=device, dtype=precision)
    return positions[:, None] * BASE_FREQUENCY ** (-order / pairs)


def _rotate_pairs(half: Tensor, angles: Tensor) -> Tensor:
    first, second = half.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack((first * cos - second * sin, first * sin + second * cos), dim=-1)
    return turned.flatten(-2)
