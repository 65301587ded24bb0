"""What layers do faster while training equals what they do plainly; what users hook is called."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from mlla.blocks import MLLABlock
from mlla.layers.grid_conv import add_convolved, convolve_grid, depthwise_conv3x3, reduce_grid
from mlla.layers.mlp import MLP
from mlla.layers.plain_module import is_plain
from mlla.ops import use_fast_paths
from mlla.ops.lean_linear import gated_linear, gelu_linear


@pytest.fixture
def _plain():
    use_fast_paths(False)
    yield
    use_fast_paths(True)


def gradients(function, inputs, cotangent=None):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    cotangent = torch.ones_like(output) if cotangent is None else cotangent.to(output.dtype)
    return [output, *torch.autograd.grad(output, leaves, cotangent)]


def without_fast_paths(function):
    def run(*inputs):
        use_fast_paths(False)
        try:
            return function(*inputs)
        finally:
            use_fast_paths(True)

    return run


CASES = {
    "gelu": (gelu_linear, [(2, 3, 5, 8), (4, 8), (4,)]),
    "gate": (gated_linear, [(2, 3, 5, 8), (2, 3, 5, 8), (4, 8), (4,)]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_lean_linear_equals_plain_in_output_and_gradients(case, dtype):
    function, shapes = CASES[case]
    inputs = [torch.randn(shape, dtype=dtype) for shape in shapes]
    cotangent = torch.randn(2, 3, 5, 4)
    ours = gradients(function, inputs, cotangent)
    expected = gradients(without_fast_paths(function), inputs, cotangent)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("case", CASES)
def test_lean_linear_under_autocast_equals_plain_under_autocast(case):
    function, shapes = CASES[case]
    inputs = [torch.randn(shape) for shape in shapes]
    cotangent = torch.randn(2, 3, 5, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = gradients(function, inputs, cotangent)
        expected = gradients(without_fast_paths(function), inputs, cotangent)
    assert ours[0].dtype == torch.bfloat16
    # the plain product of a float32 input is rounded once less
    torch.testing.assert_close(ours, expected, atol=0.1, rtol=0.02)


@pytest.mark.parametrize("case", CASES)
def test_lean_linear_passes_gradcheck(case):
    function, shapes = CASES[case]
    inputs = [torch.randn(shape[-2:], dtype=torch.float64) for shape in shapes]
    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in inputs])


@pytest.mark.parametrize("case", CASES)
def test_frozen_weights_get_no_gradient(case):
    function, shapes = CASES[case]
    *inputs, weight, bias = (torch.randn(shape) for shape in shapes)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    function(*inputs, weight, bias).sum().backward()
    assert weight.grad is None
    assert all(tensor.grad is not None for tensor in inputs)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_folded_residual_equals_the_sum(dtype):
    conv = depthwise_conv3x3(6).to(dtype)
    grid = torch.randn(2, 4, 7, 6, dtype=dtype)

    def ours(grid, weight, bias):
        return torch.func.functional_call(
            _Applied(add_convolved, conv), {"conv.weight": weight, "conv.bias": bias}, grid
        )

    def plain(grid, weight, bias):
        image = grid.permute(0, 3, 1, 2)
        convolved = functional.conv2d(image, weight, bias, padding=1, groups=6)
        return grid + convolved.permute(0, 2, 3, 1)

    inputs = [grid, conv.weight, conv.bias]
    torch.testing.assert_close(gradients(ours, inputs), gradients(plain, inputs))


class _Applied(nn.Module):
    def __init__(self, function, conv):
        super().__init__()
        self.function, self.conv = function, conv

    def forward(self, grid):
        return self.function(self.conv, grid)


def test_folded_residual_keeps_float32_under_autocast():
    conv, grid = depthwise_conv3x3(6), torch.randn(2, 4, 7, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = add_convolved(conv, grid)
    torch.testing.assert_close(ours, grid + convolve_grid(conv, grid))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduction_under_autocast_has_the_gradients_of_float32(dtype):
    conv = depthwise_conv3x3(8, stride=2)
    grid = torch.randn(2, 6, 10, 8).to(dtype)
    # what the cast rounds is rounded for both
    with torch.no_grad():
        conv.weight.copy_(conv.weight.to(dtype))
    expected = gradients(partial(convolve_grid, conv), [grid.float()])
    expected += torch.autograd.grad(convolve_grid(conv, grid.float()).sum(), conv.parameters())
    with torch.autocast("cpu", dtype=dtype):
        ours = gradients(partial(reduce_grid, conv), [grid])
        ours += torch.autograd.grad(reduce_grid(conv, grid).sum(), conv.parameters())
    assert [tensor.dtype for tensor in ours] == [dtype, dtype, torch.float32, torch.float32]
    torch.testing.assert_close([tensor.float() for tensor in ours], expected, atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_block_equals_its_plain_form_in_every_gradient(dtype):
    block = MLLABlock(16, 2)
    grid = torch.randn(2, 5, 6, 16)
    results = []
    for fast in (True, False):
        use_fast_paths(fast)
        try:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype != torch.float32):
                output = block(grid)
            names = dict(block.named_parameters())
            results.append([output, *torch.autograd.grad(output.sum(), list(names.values()))])
        finally:
            use_fast_paths(True)
    tolerance = (
        {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.5, "rtol": 0.1}
    )
    for name, mine, theirs in zip(["output", *names], *results, strict=True):
        torch.testing.assert_close(
            mine, theirs, **tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def test_what_a_user_put_on_a_layer_is_called():
    calls = []
    block = MLLABlock(8, 2)
    for name, module in block.named_modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    block(torch.randn(1, 3, 3, 8))
    hooked = {name for name, module in block.named_modules() if not list(module.children())}
    assert set(calls) == hooked


class _Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def test_replaced_layers_are_called():
    mlp, x = MLP(4, 8), torch.randn(3, 4)
    expected = mlp(x)
    doubled = _Doubled(8, 4)
    doubled.load_state_dict(mlp.contract.state_dict())
    mlp.contract = doubled
    torch.testing.assert_close(mlp(x), 2 * expected)


def test_plain_is_the_class_itself_without_additions():
    layer = nn.Linear(2, 2)
    assert is_plain(layer, nn.Linear)
    handle = layer.register_forward_pre_hook(lambda *_: None)
    assert not is_plain(layer, nn.Linear)
    handle.remove()
    assert is_plain(layer, nn.Linear)
    layer.forward = lambda x: x
    assert not is_plain(layer, nn.Linear)
    assert not is_plain(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear)
    assert not is_plain(_Doubled(2, 2), nn.Linear)


# per element of the input of the block, in float32: two inputs of convolutions beside two of norms
# and their outputs (6); gate, local mixing and its output before and after SiLU (4); queries and
# keys (2); what is gated (1); the hidden layer of the MLP (4)
KEPT_ELEMENTS = 17


def kept_elements(block, grid):
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(grid)
    weights = {parameter.untyped_storage().data_ptr() for parameter in block.parameters()}
    return sum(size for place, size in kept.items() if place not in weights) / grid.numel()


def test_a_block_keeps_little_for_its_backward_pass():
    block = MLLABlock(64, 2)
    grid = torch.randn(2, 16, 16, 64).requires_grad_()
    kept = kept_elements(block, grid)
    use_fast_paths(False)
    try:
        plain = kept_elements(block, grid)
    finally:
        use_fast_paths(True)
    # means, statistics and kernels come on top
    assert KEPT_ELEMENTS <= kept <= KEPT_ELEMENTS + 1, kept
    assert kept < 0.62 * plain
