import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import pad_grid_to_multiple


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5))
def test_zeros_follow_the_grid_up_to_the_next_multiple(height, width, multiple):
    grid = torch.randn(2, height, width, 3)
    padded = pad_grid_to_multiple(grid, multiple)
    for side, before in zip(padded.shape[1:3], (height, width), strict=True):
        assert side % multiple == 0
        assert before <= side < before + multiple
    assert torch.equal(padded[:, :height, :width], grid)
    assert padded.count_nonzero() == grid.count_nonzero()


def test_nothing_is_copied_when_nothing_is_missing():
    grid = torch.randn(1, 4, 8, 3)
    assert pad_grid_to_multiple(grid, 4) is grid


def test_multiple_must_be_positive():
    with pytest.raises(ValueError, match="multiple=0 must be at least 1"):
        pad_grid_to_multiple(torch.ones(1, 2, 2, 1), 0)
