"""The two layers that change the resolution, and the convolution they share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from mlla.layers import ConvNorm, Downsample, Stem

sides = st.integers(1, 13)


def with_statistics(module):
    """Give batch norms weights and statistics that a wrong order of steps would show."""
    for norm in module.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean):
                torch.nn.init.normal_(tensor, 0.5, 0.3)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    return module.eval()


@pytest.fixture
def stem():
    return with_statistics(Stem(3, 8))


@pytest.fixture
def downsample():
    return with_statistics(Downsample(6, 8))


@torch.no_grad()
@given(sides, sides)
def test_stem_quarters_any_image_rounding_up(height, width):
    grid = Stem(2, 4).eval()(torch.randn(1, 2, height, width))
    assert grid.shape == (1, -(-height // 4), -(-width // 4), 4)


@torch.no_grad()
@given(sides, sides)
def test_downsample_halves_any_grid_rounding_up(height, width):
    grid = Downsample(2, 4).eval()(torch.randn(1, height, width, 2))
    assert grid.shape == (1, -(-height // 2), -(-width // 2), 4)


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 6), (7, 9), (9, 8), (1, 3)])
def test_stem_pads_with_zeros_on_the_right_and_below(stem, size):
    image = torch.randn(1, 3, *size)
    padded = functional.pad(image, (0, -size[1] % 4, 0, -size[0] % 4))
    torch.testing.assert_close(stem(image), stem(padded))


@torch.no_grad()
@pytest.mark.parametrize("size", [(5, 6), (7, 9), (4, 3), (1, 1)])
def test_downsample_pads_before_its_first_convolution(downsample, size):
    grid = torch.randn(1, *size, 6)
    padded = functional.pad(grid, (0, 0, 0, size[1] % 2, 0, size[0] % 2))
    torch.testing.assert_close(downsample(grid), downsample(padded))


@torch.no_grad()
def test_downsample_is_an_inverted_bottleneck(downsample):
    grid = torch.randn(1, 4, 6, 6)
    x = grid.permute(0, 3, 1, 2)
    x = downsample.expand(x).relu()
    assert x.shape[1] == 32
    x = downsample.reduce(x).relu()
    x = downsample.project.norm(downsample.project.conv(x))
    torch.testing.assert_close(downsample(grid), x.permute(0, 2, 3, 1))


@torch.no_grad()
def test_stem_sees_the_image_right_way_up(stem):
    image = torch.zeros(1, 3, 32, 48)
    changed = image.clone()
    changed[:, :, 6, 41] = 1
    effect = (stem(changed) - stem(image)).abs().sum(dim=(0, 3))
    assert divmod(effect.argmax().item(), effect.shape[1]) == (1, 10)


@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_every_weight_of_both_gets_a_gradient(stem, downsample, size):
    for module, inputs in (
        (stem, torch.randn(2, 3, *size)),
        (downsample, torch.randn(2, *size, 6)),
    ):
        module(inputs).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in module.parameters())


@torch.no_grad()
def test_memory_layout_of_the_image_does_not_matter(stem):
    image = torch.randn(2, 3, 16, 24)
    expected = stem(image)
    torch.testing.assert_close(stem(image.contiguous(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(stem(image.mT.contiguous().mT), expected)
    torch.testing.assert_close(stem(torch.stack((image, image), -1)[..., 0]), expected)


def test_stem_hands_on_a_contiguous_grid(stem):
    assert stem(torch.randn(2, 3, 16, 24)).is_contiguous()


def test_conv_norm_options_matter():
    grid = torch.randn(1, 6, 6, 4)
    assert ConvNorm(4, 8, 3, stride=2).eval()(grid).shape == (1, 3, 3, 8)
    assert ConvNorm(4, 8, 3).eval()(grid).shape == (1, 6, 6, 8)
    assert ConvNorm(4, 8, 5).conv.weight.shape == (8, 4, 5, 5)
    assert ConvNorm(4, 8, 3).conv.bias is None
    assert ConvNorm(4, 8, 3, bias=True).conv.bias.shape == (8,)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Stem(0, 8), "in_chans=0 must be at least 1"),
        (lambda: Stem(3, 7), "dim=7 must be even"),
        (lambda: Stem(3, 0), "dim=0 must be even and positive"),
        (lambda: ConvNorm(4, 4, 2), "kernel_size=2 must be odd"),
    ],
)
def test_errors_name_the_argument_and_its_value(build, message):
    with pytest.raises(ValueError, match=message):
        build()
