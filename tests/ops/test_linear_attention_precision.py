"""Half precision and autocast: sums over tokens stay in float32."""

import pytest
import torch

from mlla.ops import linear_attention, linear_attention_reference

HALVES = [torch.float16, torch.bfloat16]
# both sides round their output once
HALF_TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def grids(height, width, scale=1.0, dtype=torch.float32):
    shape = (1, height, width, 8)
    query, key, value = torch.rand(shape) + 0.05, torch.rand(shape) + 0.05, torch.randn(shape)
    return [(scale * grid).to(dtype).requires_grad_() for grid in (query, key, value)]


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
@pytest.mark.parametrize("scale", [1e-4, 1e-2, 1.0, 1e2, 1e4])
def test_inputs_of_any_scale_stay_finite(dtype, scale):
    inputs = grids(16, 20, scale, dtype)
    output = linear_attention(*inputs, num_heads=2)
    # the gradient of queries and keys grows as 1 / scale: the cotangent is what a loss sends
    gradients = torch.autograd.grad(output, inputs, torch.full_like(output, 1e-3))
    assert all(grid.isfinite().all() for grid in (output, *gradients))


@pytest.mark.parametrize("dtype", HALVES)
def test_25600_tokens_do_not_overflow(dtype):
    inputs = [torch.full((1, 160, 160, 8), 4.0, dtype=dtype) for _ in range(3)]
    attended = linear_attention(*inputs, num_heads=2, rotary=False)
    # the sum of the keys alone is 102,400, above the largest float16
    torch.testing.assert_close(attended, inputs[2])


@pytest.mark.parametrize("attention", [linear_attention, linear_attention_reference])
@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_does_not_reach_the_sums(attention, dtype):
    inputs = [10 * grid.detach() for grid in grids(8, 12)]
    expected = attention(*inputs, num_heads=2)
    with torch.autocast("cpu", dtype=dtype):
        ours = attention(*inputs, num_heads=2)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_with_half_inputs_and_many_tokens(dtype):
    inputs = [grid.detach() for grid in grids(160, 160, 30.0, dtype)]
    with torch.autocast("cpu", dtype=dtype):
        ours = linear_attention(*inputs, num_heads=2)
    expected = linear_attention(*(grid.double() for grid in inputs), num_heads=2)
    error = (ours.double() - expected).abs().max() / expected.abs().max()
    assert error <= HALF_TOLERANCE[dtype]


def test_meta_tensors_pass():
    inputs = [torch.ones(1, 4, 6, 8, device="meta")] * 3
    assert linear_attention(*inputs, num_heads=2).shape == (1, 4, 6, 8)
