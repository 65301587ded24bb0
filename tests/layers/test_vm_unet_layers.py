"""VM-UNet's SS2D, patch merging and patch expanding."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mlla.layers import FourWayScan, PatchExpanding, PatchMerging, VMUNetSS2D
from mlla.ops import selective_scan_reference

SIZES = [(1, 1), (1, 7), (7, 4), (5, 9)]


def randomised(layer):
    """Make every weight matter: projections start small, norms as identities."""
    for name, parameter in layer.named_parameters():
        if not name.endswith(("A_log", "D", "dt_proj_bias")):
            nn.init.normal_(parameter, 0.3 if parameter.dim() == 1 else 0.0, 0.3)
    return layer


def scanned(scan, grid):
    """Scan in four directions, one pixel path after the other."""
    height, width = grid.shape[1:3]
    by_rows = [(row, column) for row in range(height) for column in range(width)]
    by_columns = [(row, column) for column in range(width) for row in range(height)]
    total = torch.zeros_like(grid)
    for k, path in enumerate((by_rows, by_columns, by_rows[::-1], by_columns[::-1])):
        tokens = torch.stack([grid[:, row, column] for row, column in path], dim=1)
        rank, states = scan.dt_rank, scan.num_states
        dt, b, c = (tokens @ scan.x_proj_weight[k].T).split([rank, states, states], dim=-1)
        steps = functional.softplus(dt @ scan.dt_proj_weight[k].T + scan.dt_proj_bias[k])
        arguments = (tokens[:, None], steps[:, None], -scan.A_log[k : k + 1].exp())
        y = selective_scan_reference(*arguments, b[:, None], c[:, None], scan.D[k : k + 1])
        for place, (row, column) in enumerate(path):
            total[:, row, column] += y[:, 0, place]
    return total


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_ss2d_is_the_published_formula(size):
    layer = randomised(VMUNetSS2D(4, num_states=3)).double()
    x = torch.randn(2, *size, 4, dtype=torch.float64)
    mixed, gate = (x @ layer.input_and_gate_projection.weight.T).split(8, dim=-1)
    mixed = layer.local_mixing(mixed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    mixed = scanned(layer.scan, mixed * torch.sigmoid(mixed))
    gated = layer.scan_norm(mixed) * gate * torch.sigmoid(gate)
    torch.testing.assert_close(layer(x), gated @ layer.output_projection.weight.T)


def test_ss2d_starts_with_the_published_initial_values():
    layer = VMUNetSS2D(64)
    for projection in (layer.input_and_gate_projection, layer.output_projection):
        assert projection.bias is None
        assert projection.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert (layer.scan.num_states, layer.scan.dt_rank) == (16, 4)
    # steps of 1e-3 to 0.1 before the input has its say, rates -1 to -16, a direct weight of 1
    steps = functional.softplus(layer.scan.dt_proj_bias)
    assert steps.min() >= 0.99e-3
    assert steps.max() <= 1.01e-1
    assert torch.equal(layer.scan.A_log.exp().round(), torch.arange(1.0, 17).expand(4, 128, 16))
    assert (layer.scan.D == 1).all()


def test_ss2d_gives_every_weight_a_gradient():
    layer = randomised(VMUNetSS2D(6))
    layer(torch.randn(2, 3, 5, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ss2d_under_autocast_stays_close_to_float32(dtype):
    layer, x = randomised(VMUNetSS2D(8)), torch.randn(2, 9, 7, 8)
    expected = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        output = layer(x).float()
    assert (output - expected).norm() / expected.norm() < {
        torch.float16: 5e-3,
        torch.bfloat16: 4e-2,
    }[dtype]


@torch.no_grad()
def test_large_results_of_the_scan_survive_float16_autocast():
    layer, x = randomised(VMUNetSS2D(8)), torch.randn(1, 4, 5, 8)
    layer.scan.D.fill_(3e5)
    with torch.autocast("cpu", dtype=torch.float16):
        output = layer(x)
    assert output.isfinite().all()
    expected = layer(x)
    assert (output - expected).norm() / expected.norm() < 1e-2


def test_the_number_of_states_matters():
    shapes = [VMUNetSS2D(4, num_states=n).scan.A_log.shape for n in (3, 5)]
    assert shapes == [(4, 8, 3), (4, 8, 5)]


@torch.no_grad()
def test_merging_joins_the_four_places_of_a_neighbourhood():
    layer = PatchMerging(1)
    assert layer.reduce.bias is None
    layer.norm = nn.Identity()
    nn.init.eye_(layer.reduce.weight)
    # rows 0 1 / 2 3: the authors read a neighbourhood column by column, here its first two places
    grid = torch.tensor([[0.0, 1.0], [2.0, 3.0]])[None, ..., None]
    assert layer(grid).flatten().tolist() == [0.0, 2.0]
    layer.reduce.weight = nn.Parameter(torch.eye(4)[2:])
    assert layer(grid).flatten().tolist() == [1.0, 3.0]


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (5, 8), (4, 7), (6, 6)])
def test_merging_pads_odd_sides_with_zeros_at_the_end(size):
    layer, grid = PatchMerging(3), torch.randn(2, *size, 3)
    padded = functional.pad(grid, (0, 0, 0, size[1] % 2, 0, size[0] % 2))
    assert layer(grid).shape == (2, -(-size[0] // 2), -(-size[1] // 2), 6)
    assert torch.equal(layer(grid), layer(padded))


@torch.no_grad()
@pytest.mark.parametrize("factor", [2, 4])
def test_expanding_unfolds_channels_into_pixels(factor):
    layer = PatchExpanding(8, factor)
    layer.norm = nn.Identity()
    grid = torch.randn(2, 3, 5, 8)
    output = layer(grid)
    assert output.shape == (2, 3 * factor, 5 * factor, 8 // factor)
    expanded = (grid @ layer.expand.weight.T).reshape(2, 3, 5, factor, factor, 8 // factor)
    for row in range(3 * factor):
        for column in range(5 * factor):
            source = expanded[:, row // factor, column // factor, row % factor, column % factor]
            torch.testing.assert_close(output[:, row, column], source)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VMUNetSS2D(0), "dim=0 must be at least 1"),
        (lambda: VMUNetSS2D(4, num_states=0), "num_states=0 must be at least 1"),
        (lambda: PatchExpanding(8, 3), "factor=3 must be a positive divisor of dim=8"),
        (lambda: PatchExpanding(8, 0), "factor=0 must be a positive divisor of dim=8"),
    ],
)
def test_errors_name_the_argument_and_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_core_is_shared():
    assert isinstance(VMUNetSS2D(4).scan, FourWayScan)
