"""Every inference form computes what the module for training does, on both of its paths."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from mlla.blocks import MLLABlock
from mlla.inference.forms import FORMS
from mlla.layers import ConvNorm, Downsample, GatedLinearAttention, Stem

MODULES: dict[str, Callable[[], nn.Module]] = {
    "block": lambda: MLLABlock(64, 2),
    # heads of which one turns by rows and by columns, and heads of an odd width
    "one head": lambda: MLLABlock(16, 1),
    "odd heads": lambda: MLLABlock(12, 4),
    "gated attention": lambda: GatedLinearAttention(32, 2),
    "downsample": lambda: Downsample(16, 32),
    "downsample in tiles": lambda: Downsample(64, 128),
    "conv and norm": lambda: ConvNorm(16, 8, 3, stride=2),
    "stem": lambda: Stem(3, 16),
}
# the last is more than a tile of tokens
SIZES = [(1, 1), (7, 28), (5, 3), (1, 6), (72, 70)]


def trained(name: str) -> nn.Module:
    """Build a module whose norms and biases are not those of its start."""
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    for part in module.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
    return module


def grid_for(name: str, module: nn.Module, size: tuple[int, int], batch: int = 3) -> Tensor:
    if name == "stem":
        return torch.randn(batch, 3, *size)
    width = next(p for p in module.parameters() if p.dim() > 1).shape
    return torch.randn(
        batch,
        *size,
        {"downsample": 16, "downsample in tiles": 64, "conv and norm": 16}.get(name, width[0]),
    )


def relative_error(wanted: Tensor, got: Tensor) -> float:
    assert wanted.shape == got.shape
    return float((wanted - got).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", MODULES)
def test_forms_compute_the_same_in_float32(name: str, size: tuple[int, int]) -> None:
    module = trained(name)
    form = FORMS[type(module)](deepcopy(module)).eval()
    x = grid_for(name, module, size)
    before = x.clone()
    with torch.no_grad():
        wanted = module(x)
        assert relative_error(wanted, form(x)) < 1e-5
    assert torch.equal(x, before)
    # what needs gradients of its input takes the path of ordinary operators
    assert relative_error(wanted, form(x.requires_grad_()).detach()) < 1e-5


@pytest.mark.parametrize("name", MODULES)
def test_forms_are_as_exact_in_bfloat16_as_the_modules(name: str) -> None:
    module = trained(name)
    form = FORMS[type(module)](deepcopy(module)).eval()
    x = grid_for(name, module, (9, 14))
    with torch.no_grad():
        wanted = module(x)
        plain = deepcopy(module).bfloat16()(x.bfloat16()).float()
        fast = form.bfloat16()(x.bfloat16()).float()
    assert relative_error(wanted, fast) < max(2 * relative_error(wanted, plain), 0.02)


@pytest.mark.parametrize("name", MODULES)
def test_forms_compute_in_double_precision(name: str) -> None:
    module = trained(name).double()
    form = FORMS[type(module)](deepcopy(module)).eval()
    x = grid_for(name, module, (4, 5)).double()
    with torch.no_grad():
        assert relative_error(module(x), form(x)) < 1e-12


def test_gradients_of_the_input_are_those_of_the_module() -> None:
    module = trained("block")
    form = FORMS[type(module)](deepcopy(module)).eval()
    x = torch.randn(2, 5, 6, 64, requires_grad=True)
    (wanted,) = torch.autograd.grad(module(x).square().sum(), x)
    (got,) = torch.autograd.grad(form(x).square().sum(), x)
    assert relative_error(wanted, got) < 1e-5


@pytest.mark.parametrize("size", [(75, 130), (512, 64)], ids=str)
def test_downsampling_in_tiles_of_rows(size: tuple[int, int]) -> None:
    module = trained("downsample in tiles")
    form = FORMS[type(module)](deepcopy(module)).eval()
    x = torch.randn(2, *size, 64)
    with torch.no_grad():
        assert relative_error(module(x), form(x)) < 1e-5


def test_forms_refuse_to_train() -> None:
    module = trained("block")
    form = FORMS[type(module)](module).eval()
    with pytest.raises(RuntimeError, match=r"train the model that was given to mlla\.optimize"):
        form.train()
