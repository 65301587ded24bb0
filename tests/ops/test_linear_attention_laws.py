"""What linear attention must obey whatever the numbers are."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import linear_attention

sides = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


def draw_grids(seed, height, width, batch=1):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, height, width, 8)
    query, key = (
        torch.rand(shape, generator=generator, dtype=torch.float64) + 0.05 for _ in range(2)
    )
    return query, key, torch.randn(shape, generator=generator, dtype=torch.float64)


@given(seeds, sides, sides, st.floats(-3, 3), st.floats(-3, 3))
def test_linear_in_value(seed, height, width, a, b):
    query, key, first = draw_grids(seed, height, width)
    second = first.flip(-1).cos()

    def attend(value):
        return linear_attention(query, key, value, num_heads=2)

    torch.testing.assert_close(
        attend(a * first + b * second), a * attend(first) + b * attend(second), atol=1e-9, rtol=1e-9
    )


@given(seeds, sides, sides)
def test_weights_average_ones_to_ones_without_rotation(seed, height, width):
    query, key, value = draw_grids(seed, height, width)
    ones = torch.ones_like(value)
    attended = linear_attention(query, key, ones, num_heads=2, rotary=False)
    torch.testing.assert_close(attended, ones, atol=1e-3, rtol=0)


@given(seeds, sides, sides)
def test_average_stays_within_the_values_without_rotation(seed, height, width):
    query, key, value = draw_grids(seed, height, width)
    attended = linear_attention(query, key, value, num_heads=2, rotary=False)
    low, high = value.amin(dim=(1, 2), keepdim=True), value.amax(dim=(1, 2), keepdim=True)
    # eps makes the weights sum to a little less than one
    slack = 1e-3 * value.abs().max()
    assert (attended >= low - slack).all()
    assert (attended <= high + slack).all()


@given(seeds, sides, sides, st.permutations(range(3)))
def test_images_of_a_batch_do_not_meet(seed, height, width, order):
    inputs = draw_grids(seed, height, width, batch=3)
    attended = linear_attention(*inputs, num_heads=2)
    reordered = linear_attention(*(grid[order] for grid in inputs), num_heads=2)
    torch.testing.assert_close(reordered, attended[order])


@given(seeds, sides, sides)
def test_heads_do_not_meet(seed, height, width):
    query, key, value = draw_grids(seed, height, width)
    changed = value.clone()
    changed[..., :4] += 1
    before = linear_attention(query, key, value, num_heads=2)
    after = linear_attention(query, key, changed, num_heads=2)
    torch.testing.assert_close(after[..., 4:], before[..., 4:])


@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_without_rotation_tokens_are_a_set(seed, height, width):
    query, key, value = draw_grids(seed, height, width)
    key_mirrored, value_mirrored = key.flip(1, 2), value.flip(1, 2)
    before = linear_attention(query, key, value, num_heads=2, rotary=False)
    after = linear_attention(query, key_mirrored, value_mirrored, num_heads=2, rotary=False)
    torch.testing.assert_close(after, before)


@given(seeds, sides, sides, st.floats(0.1, 10))
def test_scaling_the_queries_changes_nothing(seed, height, width, factor):
    query, key, value = draw_grids(seed, height, width)
    before = linear_attention(query, key, value, num_heads=2)
    after = linear_attention(factor * query, key, value, num_heads=2)
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-3)
