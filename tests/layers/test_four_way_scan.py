"""The four-way scan against four scans of one sequence each."""

import copy

import pytest
import torch
from torch.nn import functional

from mlla.layers.four_way_scan import FourWayScan
from mlla.ops import selective_scan_reference


def four_scans_one_by_one(layer, grid):
    """Every order by itself, its pixels visited by index."""
    _, height, width, _ = grid.shape
    rows = [(i, j) for i in range(height) for j in range(width)]
    columns = [(i, j) for j in range(width) for i in range(height)]
    total = torch.zeros_like(grid)
    for k, order in enumerate([rows, columns, rows[::-1], columns[::-1]]):
        tokens = torch.stack([grid[:, i, j] for i, j in order], dim=1)
        dt, b, c = (tokens @ layer.x_proj_weight[k].T).split(
            [layer.dt_rank, layer.num_states, layer.num_states], dim=-1
        )
        steps = functional.softplus(dt @ layer.dt_proj_weight[k].T + layer.dt_proj_bias[k])
        y = selective_scan_reference(
            *(t[:, None] for t in (tokens, steps)),
            -layer.A_log[k].exp()[None],
            *(t[:, None] for t in (b, c)),
            layer.D[k][None],
        )[:, 0]
        for index, (i, j) in enumerate(order):
            total[:, i, j] += y[:, index]
    return total


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (4, 6), (5, 3)], ids=str)
def test_equals_four_scans_one_by_one(size):
    layer = FourWayScan(12, num_states=3)
    grid = torch.randn(2, *size, 12)
    torch.testing.assert_close(layer(grid), four_scans_one_by_one(layer, grid))


def test_a_trace_takes_any_size():
    layer = FourWayScan(8, num_states=2).eval()
    traced = torch.jit.trace(layer, torch.randn(1, 6, 4, 8), check_trace=False)
    for size in [(2, 3, 5), (1, 1, 1), (1, 9, 17)]:
        grid = torch.randn(*size, 8)
        torch.testing.assert_close(traced(grid), layer(grid))


def test_every_weight_and_every_pixel_gets_a_gradient():
    layer = FourWayScan(8)
    grid = torch.randn(1, 4, 5, 8, requires_grad=True)
    layer(grid).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())
    assert (grid.grad != 0).all()


def test_every_pixel_sees_every_other():
    layer = FourWayScan(4)
    grid = torch.randn(1, 3, 4, 4, requires_grad=True)
    for row, column in [(0, 0), (1, 2), (2, 3)]:
        (gradient,) = torch.autograd.grad(layer(grid)[0, row, column].sum(), grid)
        assert (gradient.abs().sum(-1) > 0).all()


def test_options_change_the_weights():
    assert FourWayScan(64).dt_rank == 2
    assert FourWayScan(64, dt_rank=3).dt_proj_weight.shape == (4, 64, 3)
    assert FourWayScan(64, num_states=5).A_log.shape == (4, 64, 5)


def test_starts_as_s4d_real_with_steps_between_the_bounds():
    layer = FourWayScan(32, num_states=4)
    assert torch.allclose(layer.A_log.exp(), torch.arange(1.0, 5.0).expand(4, 32, 4))
    steps = functional.softplus(layer.dt_proj_bias)
    assert (steps > 0.99e-3).all()
    assert (steps < 0.101).all()
    assert (layer.D == 1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_steps_and_states_stay_in_float32_under_autocast(dtype):
    layer = FourWayScan(16)
    grid = torch.randn(1, 20, 20, 16)
    expected = copy.deepcopy(layer).double()(grid.double())
    with torch.autocast("cpu", dtype=dtype):
        ours = layer(grid)
    # what is left is the rounding of the projection to half precision
    error = (ours.double() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
