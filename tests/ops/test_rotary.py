import cmath

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import rotate_by_position

sides = st.integers(1, 9)


def score(query, key, query_place, key_place, size=(12, 12)):
    """Return the product of one query and one key after their rotation."""
    grid = torch.zeros(2, *size, query.numel(), dtype=torch.float64)
    grid[0, query_place[0], query_place[1]] = query
    grid[1, key_place[0], key_place[1]] = key
    turned_query, turned_key = rotate_by_position(grid)
    return (turned_query[query_place] * turned_key[key_place]).sum()


def test_pairs_turn_by_row_then_by_column():
    grid = torch.randn(1, 3, 4, 8, dtype=torch.float64)
    rotated = rotate_by_position(grid)
    for row in range(3):
        for column in range(4):
            for pair, (place, frequency) in enumerate(
                [(row, 1.0), (row, 0.01), (column, 1.0), (column, 0.01)]
            ):
                before = complex(*grid[0, row, column, 2 * pair : 2 * pair + 2].tolist())
                expected = before * cmath.exp(1j * place * frequency)
                after = complex(*rotated[0, row, column, 2 * pair : 2 * pair + 2].tolist())
                assert abs(after - expected) < 1e-12


@given(sides, sides, st.integers(0, 1000))
def test_lengths_are_kept(height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    grid = torch.randn(1, height, width, 8, generator=generator, dtype=torch.float64)
    pairs = rotate_by_position(grid).unflatten(-1, (-1, 2))
    torch.testing.assert_close(pairs.norm(dim=-1), grid.unflatten(-1, (-1, 2)).norm(dim=-1))


@given(*[st.integers(0, 5)] * 6)
def test_score_depends_on_the_offset_only(row, column, other_row, other_column, down, right):
    query, key = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    here = score(query, key, (row, column), (other_row, other_column))
    moved = score(
        query, key, (row + down, column + right), (other_row + down, other_column + right)
    )
    torch.testing.assert_close(here, moved)


def test_position_zero_is_left_alone():
    grid = torch.randn(2, 4, 5, 8)
    torch.testing.assert_close(rotate_by_position(grid)[:, 0, 0], grid[:, 0, 0], rtol=0, atol=0)


def test_half_precision_angles_are_exact_far_from_the_origin():
    ones = torch.ones(1, 1, 160, 8)
    expected = rotate_by_position(ones)
    for dtype in (torch.float16, torch.bfloat16):
        ours = rotate_by_position(ones.to(dtype))
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, expected.to(dtype), rtol=0, atol=0)


def test_gradients_pass_gradcheck():
    grid = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotate_by_position, grid)


def test_width_must_be_divisible_by_four():
    with pytest.raises(ValueError, match=r"divisible by 4.*got C=6; choose"):
        rotate_by_position(torch.ones(1, 2, 2, 6))
