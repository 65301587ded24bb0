"""Efficient multi-scale attention: the stored outputs of the published code, and its laws."""

import warnings

import pytest
import torch
from torch.export import Dim, export
from torch.nn import functional

from golden import assert_golden, drawn, filled, golden_case, golden_shapes
from mlla.layers import EfficientMultiscaleAttention
from mlla.layers.multiscale_attention import PUBLISHED_NAMES

SIZES = [(1, 1), (1, 7), (7, 28), (20, 80)]


def by_the_equations(layer, grid):
    """Compute one group at a time, with both strips joined before their convolution."""
    outputs = []
    for group in grid.permute(0, 3, 1, 2).chunk(layer.num_groups, dim=1):
        height, width = group.shape[2:]
        strips = torch.cat([group.mean(3), group.mean(2)], dim=2)
        gates = functional.conv1d(
            strips, layer.strip_conv.weight[..., 0], layer.strip_conv.bias
        ).sigmoid()
        rows, columns = gates.split([height, width], dim=2)
        gated = group * torch.einsum("bch,bcw->bchw", rows, columns)
        variance, mean = torch.var_mean(gated, dim=(2, 3), correction=0, keepdim=True)
        gated = (gated - mean) / (variance + 1e-5).sqrt()
        gated = gated * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]
        local = functional.conv2d(
            group, layer.local_conv.weight, layer.local_conv.bias, padding="same"
        )
        weights = torch.einsum("bc,bchw->bhw", gated.mean((2, 3)).softmax(1), local)
        weights = weights + torch.einsum("bc,bchw->bhw", local.mean((2, 3)).softmax(1), gated)
        outputs.append(group * weights.sigmoid()[:, None])
    return torch.cat(outputs, dim=1).permute(0, 2, 3, 1)


def randomised(width, num_groups):
    layer = EfficientMultiscaleAttention(width, num_groups=num_groups)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return layer


@pytest.mark.parametrize("name", ["ema-64", "ema-48-8"])
def test_it_returns_what_the_published_code_returns(name):
    case = golden_case("vss_ema", name)
    layer = EfficientMultiscaleAttention(case["dim"], num_groups=case["factor"])
    tensors = filled(golden_shapes("vss_ema", name))
    ours = {n: f"{PUBLISHED_NAMES[n.split('.')[0]]}.{n.split('.')[1]}" for n in tensors}
    layer.load_state_dict({ours[n]: tensor for n, tensor in tensors.items()})
    image = drawn(f"{name}/input", case["input"]).requires_grad_()
    output = layer(image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    (output * drawn(f"{name}/cotangent", list(output.shape))).sum().backward()
    assert_golden("vss_ema", name, "output", output)
    assert_golden("vss_ema", name, "grad_input", image.grad)
    gradients = dict(layer.named_parameters())
    for array in case["arrays"]:
        if array.startswith("grad:"):
            assert_golden("vss_ema", name, array, gradients[ours[array[5:]]].grad)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("num_groups", [1, 3, 4, 12])
def test_it_is_the_published_formula_at_any_size(size, num_groups):
    layer = randomised(12, num_groups).double()
    grid = torch.randn(2, *size, 12, dtype=torch.float64, requires_grad=True)
    output, expected = layer(grid), by_the_equations(layer, grid)
    torch.testing.assert_close(output, expected)
    weights = [grid, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(y.sin().sum(), weights) for y in (output, expected))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-9)


def test_one_pixel_of_one_image_in_one_group():
    layer = randomised(6, 1)
    grid = torch.randn(1, 1, 1, 6)
    torch.testing.assert_close(layer(grid), by_the_equations(layer, grid))


@pytest.mark.parametrize(("width", "num_groups"), [(64, 32), (48, 8), (30, 5), (7, 7), (9, 1)])
def test_the_number_of_weights_is_that_of_the_paper(width, num_groups):
    c = width // num_groups
    layer = EfficientMultiscaleAttention(width, num_groups=num_groups)
    assert sum(p.numel() for p in layer.parameters()) == 10 * c**2 + 4 * c
    assert f"width={width}, num_groups={num_groups}" in repr(layer)


@pytest.mark.parametrize(("width", "num_groups"), [(48, 32), (64, 0), (64, -2), (64, 65)])
def test_groups_that_do_not_fit_are_refused(width, num_groups):
    with pytest.raises(ValueError, match=f"{width} does not split into num_groups={num_groups}"):
        EfficientMultiscaleAttention(width, num_groups=num_groups)


def test_the_error_names_the_groups_that_fit():
    with pytest.raises(ValueError, match=r"num_groups may be 1, 2, 3, 4, 6, 8, 12, 24$"):
        EfficientMultiscaleAttention(24)


@torch.no_grad()
def test_groups_do_not_see_each_other():
    layer = randomised(12, 4)
    grid, order = torch.randn(2, 5, 6, 12), torch.tensor([2, 0, 3, 1])
    shuffled = grid.unflatten(3, (4, 3))[..., order, :].flatten(3)
    expected = layer(grid).unflatten(3, (4, 3))[..., order, :].flatten(3)
    torch.testing.assert_close(layer(shuffled), expected)


@torch.no_grad()
def test_it_only_ever_shrinks_a_pixel_and_keeps_the_ratios_of_a_group():
    layer = randomised(8, 2)
    grid = torch.randn(2, 5, 6, 8)
    ratio = (layer(grid) / grid).unflatten(3, (2, 4))
    assert ((ratio > 0) & (ratio < 1)).all()
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_what_the_gated_branch_is_pooled_to_does_not_depend_on_the_image():
    # its norm centres every channel: the mean over the map is the bias of the norm
    layer = randomised(6, 1)
    seen = []
    stock = torch.Tensor.softmax
    grid = torch.randn(3, 7, 9, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "softmax", lambda x, dim: seen.append(x) or stock(x, dim))
        layer(grid)
    torch.testing.assert_close(seen[0], layer.norm.bias.expand(3, 6), rtol=1e-4, atol=1e-5)
    assert (seen[1][0] - seen[1][1]).abs().max() > 1e-3


def test_every_weight_gets_a_gradient():
    layer = randomised(8, 2)
    layer(torch.randn(2, 3, 5, 8)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


def test_strides_of_the_input_do_not_matter():
    layer = randomised(8, 2)
    image = torch.randn(2, 8, 5, 6)
    last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        layer(image.permute(0, 2, 3, 1)), layer(last.permute(0, 2, 3, 1).contiguous())
    )


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [True, False])
def test_160x160_pixels_in_half_precision(dtype, autocast):
    layer = randomised(8, 2)
    grid = 8 * torch.randn(1, 160, 160, 8)
    expected = layer(grid)
    if autocast:
        with torch.autocast("cpu", dtype=dtype):
            ours = layer(grid)
    else:
        ours = layer.to(dtype)(grid.to(dtype))
        assert ours.dtype == dtype
    error = (ours.float() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]


@torch.no_grad()
def test_export_keeps_batch_height_and_width_open():
    layer = randomised(8, 2).eval()
    sizes = {0: Dim("batch"), 1: Dim("height"), 2: Dim("width")}
    exported = export(layer, (torch.randn(2, 6, 8, 8),), dynamic_shapes=(sizes,)).module()
    for size in [(5, 11), (8, 2), (14, 6)]:
        grid = torch.randn(3, *size, 8)
        torch.testing.assert_close(exported(grid), layer(grid))


# tracing is deprecated in PyTorch, and still what ONNX exports of detectors go through
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
@torch.no_grad()
def test_trace_keeps_batch_height_and_width_open_without_warnings():
    layer = randomised(8, 2).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(layer, torch.randn(2, 6, 8, 8))
    for size in [(5, 11), (8, 2), (1, 1)]:
        grid = torch.randn(3, *size, 8)
        torch.testing.assert_close(traced(grid), layer(grid))
