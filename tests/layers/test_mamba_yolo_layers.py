"""Mamba-YOLO's stem, downsampling, local block, gated MLP and SS2D."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from mlla.layers import (
    LocalSpatial,
    MambaYOLODownsample,
    MambaYOLOSS2D,
    MambaYOLOStem,
    PointwiseConvNorm,
    ResidualGatedMLP,
)

sides = st.integers(1, 13)
SAME_SHAPE = [MambaYOLOSS2D, LocalSpatial, ResidualGatedMLP]


def with_statistics(module):
    """Give batch norms weights and statistics that a wrong order of steps would show."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                nn.init.normal_(tensor, 0.5, 0.3)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return module.eval()


def as_map(grid):
    return grid.permute(0, 3, 1, 2)


def affected(layer, size, changed, channels=4):
    """Return the pixels of the output that a change of one pixel of the input reaches."""
    before = torch.randn(1, *size, channels)
    after = before.clone()
    after[0, changed[0], changed[1]] += 1
    with torch.no_grad():
        effect = (layer(after) - layer(before)).abs().sum(dim=(0, 3))
    return {tuple(pixel) for pixel in effect.nonzero().tolist()}


# -- shapes ------------------------------------------------------------------------------------


@torch.no_grad()
@given(sides, sides)
def test_the_stem_quarters_any_image_rounding_up(height, width):
    grid = MambaYOLOStem(2, 4).eval()(torch.randn(1, 2, height, width))
    assert grid.shape == (1, -(-height // 4), -(-width // 4), 4)


@torch.no_grad()
@given(sides, sides)
def test_downsampling_halves_any_grid_rounding_up(height, width):
    grid = MambaYOLODownsample(2, 6).eval()(torch.randn(1, height, width, 2))
    assert grid.shape == (1, -(-height // 2), -(-width // 2), 6)


@torch.no_grad()
@pytest.mark.parametrize("layer", SAME_SHAPE)
@pytest.mark.parametrize("size", [(1, 1), (7, 28), (5, 3), (1, 9)])
def test_every_size_keeps_its_shape(layer, size):
    grid = torch.randn(2, *size, 8)
    output = layer(8).eval()(grid)
    assert output.shape == grid.shape
    assert output.isfinite().all()


# -- what they compute -------------------------------------------------------------------------


@torch.no_grad()
def test_downsampling_sees_each_square_of_four_pixels_alone():
    layer = with_statistics(MambaYOLODownsample(4, 6))
    for row, column in [(0, 0), (3, 5), (2, 4), (1, 6)]:
        assert affected(layer, (4, 7), (row, column)) == {(row // 2, column // 2)}


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 6), (7, 9), (4, 3), (1, 1)])
def test_downsampling_pads_with_zeros_on_the_right_and_below(size):
    layer = with_statistics(MambaYOLODownsample(4, 6))
    grid = torch.randn(1, *size, 4)
    padded = functional.pad(grid, (0, 0, 0, size[1] % 2, 0, size[0] % 2))
    torch.testing.assert_close(layer(grid), layer(padded))


@torch.no_grad()
def test_downsampling_loses_no_pixel():
    # with the identity as projection, all four pixels of a square are there
    layer = MambaYOLODownsample(1, 4).eval()
    nn.init.eye_(layer.merge.projection.weight)
    nn.init.zeros_(layer.merge.projection.bias)
    grid = torch.randn(1, 4, 6, 1)
    corners = functional.pixel_unshuffle(as_map(grid), 2)
    scaled = corners / (1 + layer.merge.norm.eps) ** 0.5
    # by columns of the square, and pixel_unshuffle goes by rows
    torch.testing.assert_close(as_map(layer(grid)), functional.silu(scaled[:, [0, 2, 1, 3]]))


@torch.no_grad()
def test_the_stem_is_two_strided_convolutions():
    layer = with_statistics(MambaYOLOStem(3, 8))
    image = torch.randn(2, 3, 13, 18)
    x = functional.gelu(layer.half_norm(layer.reduce_to_half(image)))
    expected = functional.silu(layer.quarter_norm(layer.reduce_to_quarter(x)))
    torch.testing.assert_close(as_map(layer(image)), expected)


@torch.no_grad()
def test_the_local_block_looks_at_neighbours_and_adds_the_pixel():
    layer = with_statistics(LocalSpatial(4))
    assert affected(layer, (5, 6), (2, 3)) == {(i, j) for i in (1, 2, 3) for j in (2, 3, 4)}
    nn.init.zeros_(layer.contract.weight)
    nn.init.zeros_(layer.contract.bias)
    grid = torch.randn(1, 3, 5, 4)
    assert torch.equal(layer(grid), grid)


@torch.no_grad()
def test_the_gated_mlp_is_a_gate_times_a_value():
    layer = ResidualGatedMLP(12).eval()
    grid = torch.randn(2, 5, 3, 12)
    x, value = as_map(grid @ layer.expand.weight.T + layer.expand.bias).split(32, dim=1)
    gated = functional.gelu(x + layer.neighbours(x)) * value
    expected = gated.permute(0, 2, 3, 1) @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(layer(grid), expected)
    assert affected(layer, (5, 6), (2, 3), 12) == {(i, j) for i in (1, 2, 3) for j in (2, 3, 4)}


@torch.no_grad()
@pytest.mark.parametrize(
    ("order", "turn_kernel", "turn_grid"),
    [
        # rows become columns
        ([1, 0, 3, 2], lambda k: k.transpose(-1, -2), lambda g: g.transpose(1, 2)),
        # forwards becomes backwards
        ([2, 3, 0, 1], lambda k: k.flip(-1, -2), lambda g: g.flip(1, 2)),
    ],
    ids=["transposed", "turned"],
)
def test_ss2d_reads_a_turned_grid_as_with_exchanged_directions(order, turn_kernel, turn_grid):
    layer, turned = MambaYOLOSS2D(6).eval(), MambaYOLOSS2D(6).eval()
    turned.load_state_dict(layer.state_dict())
    for parameter in turned.scan.parameters():
        parameter.copy_(parameter[order])
    turned.local_mixing.weight.copy_(turn_kernel(layer.local_mixing.weight))
    grid = torch.randn(2, 4, 7, 6)
    torch.testing.assert_close(turned(turn_grid(grid)), turn_grid(layer(grid)))
    assert not torch.allclose(layer(turn_grid(grid)), turn_grid(layer(grid)), atol=1e-3)


def test_every_pixel_of_ss2d_sees_every_pixel():
    layer = MambaYOLOSS2D(4).eval()
    # forget little, so that the effect of a far pixel is no rounding error
    nn.init.constant_(layer.scan.A_log, -4)
    assert len(affected(layer, (5, 6), (2, 3))) == 30


# -- initial values, options, precision --------------------------------------------------------


def test_ss2d_starts_from_the_published_initial_values():
    scan = MambaYOLOSS2D(64).scan
    assert torch.equal(scan.A_log, torch.zeros(4, 128, 16))
    assert torch.equal(scan.D, torch.ones(4, 128))
    for normal in (scan.dt_proj_weight, scan.dt_proj_bias):
        assert abs(normal.mean().item()) < 0.15
        assert normal.std().item() == pytest.approx(1, abs=0.1)
    # a sixteenth of the width that comes in
    assert scan.dt_proj_weight.shape == (4, 128, 4)


def test_the_number_of_states_matters():
    assert MambaYOLOSS2D(8, num_states=5).scan.A_log.shape == (4, 16, 5)


def test_the_bias_of_a_projection_is_an_option():
    assert PointwiseConvNorm(4, 6, bias=False).projection.bias is None
    assert PointwiseConvNorm(4, 6, bias=True).projection.bias.shape == (6,)


@pytest.mark.parametrize(("arguments", "named"), [((0, 8), "in_chans=0"), ((3, 7), "dim=7")])
def test_the_stem_names_a_wrong_width(arguments, named):
    with pytest.raises(ValueError, match=named):
        MambaYOLOStem(*arguments)


@pytest.mark.parametrize(("dim", "num_states", "named"), [(0, 16, "dim=0"), (8, 0, "num_states=0")])
def test_ss2d_names_a_wrong_number(dim, num_states, named):
    with pytest.raises(ValueError, match=named):
        MambaYOLOSS2D(dim, num_states=num_states)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_ss2d_survives_autocast(dtype):
    layer, grid = MambaYOLOSS2D(16).eval(), 50 * torch.randn(1, 12, 20, 16)
    with torch.autocast("cpu", dtype):
        output = layer(grid)
    assert output.isfinite().all()
    # half precision has 8 and 11 bits, and the gate multiplies two roundings
    error = (output.float() - layer(grid)).abs().max() / layer(grid).abs().max()
    assert error < 0.1


@pytest.mark.parametrize("layer", SAME_SHAPE)
def test_every_weight_gets_a_gradient(layer):
    module = layer(8)
    grid = torch.randn(2, 3, 5, 8, requires_grad=True)
    module(grid).square().sum().backward()
    for tensor in (grid, *module.parameters()):
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0
