"""The four orders of a grid, and their inverse."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import grid_scan, grid_unscan, grid_unscan_sum

sides = st.integers(1, 9)


def numbered(height, width):
    """A grid whose pixels are numbered by rows."""
    return torch.arange(height * width, dtype=torch.float32).view(1, height, width, 1)


def test_orders_are_rows_columns_and_both_backwards():
    sequences = grid_scan(numbered(2, 3))[0, :, :, 0].tolist()
    assert sequences == [
        [0, 1, 2, 3, 4, 5],
        [0, 3, 1, 4, 2, 5],
        [5, 4, 3, 2, 1, 0],
        [5, 2, 4, 1, 3, 0],
    ]


@given(st.integers(0, 2), sides, sides, st.integers(1, 3))
def test_unscan_is_the_inverse_of_every_order(batch, height, width, channels):
    grid = torch.randn(batch, height, width, channels)
    grids = grid_unscan(grid_scan(grid), height, width)
    assert grids.shape == (batch, 4, height, width, channels)
    assert all(torch.equal(one, grid) for one in grids.unbind(1))


@given(sides, sides)
def test_sum_is_that_of_the_four_grids(height, width):
    sequences = torch.randn(2, 4, height * width, 3, dtype=torch.float64)
    torch.testing.assert_close(
        grid_unscan_sum(sequences, height, width), grid_unscan(sequences, height, width).sum(1)
    )


@pytest.mark.parametrize(("height", "width"), [(3, 5), (5, 3)])
def test_layout_of_the_memory_does_not_matter(height, width):
    grid = torch.randn(2, 4, height, width).permute(0, 2, 3, 1)
    assert not grid.is_contiguous()
    assert torch.equal(grid_scan(grid), grid_scan(grid.contiguous()))
