"""VM-UNet's VSS block."""

import warnings

import pytest
import torch
from torch import nn

from mlla.blocks import VMUNetVSSBlock


def randomised(block):
    """Make every weight matter: projections start small, norms as identities."""
    for name, parameter in block.named_parameters():
        if not name.endswith(("A_log", "D", "dt_proj_bias")):
            nn.init.normal_(parameter, 0.3 if parameter.dim() == 1 else 0.0, 0.3)
    return block


@torch.no_grad()
def test_block_is_the_published_formula():
    block, x = randomised(VMUNetVSSBlock(4)), torch.randn(2, 5, 6, 4)
    torch.testing.assert_close(block(x), x + block.ss2d(block.norm(x)))
    # no MLP: the three parts are all there is
    assert [name for name, _ in block.named_children()] == ["ss2d", "norm", "drop_path"]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 12), (9, 5)])
def test_any_size_keeps_its_shape_and_gives_every_weight_a_gradient(size):
    block = randomised(VMUNetVSSBlock(4))
    x = torch.randn(2, *size, 4, requires_grad=True)
    output = block(x)
    assert output.shape == x.shape
    output.square().sum().backward()
    assert x.grad.isfinite().all()
    without = {n for n, p in block.named_parameters() if not p.grad.abs().sum() > 0}
    # from one pixel to the next nothing decays where there is no next pixel
    assert without == ({"ss2d.scan.A_log"} if size == (1, 1) else set())


def test_gradients_pass_gradcheck():
    block = randomised(VMUNetVSSBlock(2, num_states=3)).double()
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x, fast_mode=True)


def test_a_pixel_depends_most_on_itself():
    block = randomised(VMUNetVSSBlock(8))
    x = torch.randn(1, 12, 9, 8, requires_grad=True)
    block(x)[0, 6, 4].square().sum().backward()
    assert x.grad[0].norm(dim=-1).argmax().item() == 6 * 9 + 4


def test_every_pixel_sees_every_other():
    block = randomised(VMUNetVSSBlock(4))
    x = torch.randn(1, 5, 6, 4, requires_grad=True)
    block(x)[0, 2, 3].sum().backward()
    assert (x.grad[0].norm(dim=-1) > 0).all()


def test_nothing_in_the_state_depends_on_the_resolution():
    block = VMUNetVSSBlock(4)
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    for size in ((4, 4), (3, 11), (1, 2)):
        block(torch.randn(1, *size, 4))
    assert before.keys() == block.state_dict().keys()
    assert not list(block.named_buffers())
    assert not [v for m in block.modules() for v in vars(m).values() if torch.is_tensor(v)]


@torch.no_grad()
def test_layout_of_the_memory_does_not_matter():
    block, grid = randomised(VMUNetVSSBlock(4)), torch.randn(2, 4, 6, 4)
    for other in (
        grid.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        grid.transpose(1, 2).contiguous().transpose(1, 2),
        torch.stack((grid, grid), -1)[..., 0],
    ):
        assert not other.is_contiguous()
        torch.testing.assert_close(block(other), block(grid))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_inputs_of_any_scale_stay_finite_in_half_precision(dtype, scale):
    x = (scale * torch.randn(1, 9, 12, 4)).clamp(-2e4, 2e4)
    with torch.no_grad():
        halved = VMUNetVSSBlock(4).to(dtype)(x.to(dtype))
    assert halved.dtype == dtype
    assert halved.isfinite().all()
    block = randomised(VMUNetVSSBlock(4))
    with torch.autocast("cpu", dtype=dtype):
        output = block(x)
    output.float().mean().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in block.parameters())


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_trace_keeps_height_and_width_open_without_warnings():
    block = randomised(VMUNetVSSBlock(4)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(block, torch.randn(2, 4, 6, 4))
    for size in [(5, 3), (2, 9), (1, 1)]:
        x = torch.randn(3, *size, 4)
        torch.testing.assert_close(traced(x), block(x))


@torch.no_grad()
@pytest.mark.parametrize(
    "changed", [{"num_states": 4}, {"norm_eps": 0.1}, {"drop_path": 0.5}], ids=str
)
def test_every_option_changes_weights_or_output(changed):
    one, two = randomised(VMUNetVSSBlock(4)), VMUNetVSSBlock(4, **changed)
    if [p.shape for p in one.parameters()] == [p.shape for p in two.parameters()]:
        two.load_state_dict(one.state_dict())
        x = torch.randn(16, 2, 3, 4)
        assert not torch.allclose(one(x), two(x), rtol=1e-2)


@torch.no_grad()
def test_drop_path_skips_samples_only_while_training():
    block, x = randomised(VMUNetVSSBlock(4, drop_path=0.5)), torch.randn(64, 1, 2, 4)
    branch = block.ss2d(block.norm(x))
    output = block(x)
    kept = ~(output == x).all(dim=(1, 2, 3))
    assert 16 <= kept.sum() <= 48
    # what is kept counts twice, so that the mean stays
    torch.testing.assert_close(output[kept], (x + 2 * branch)[kept])
    torch.testing.assert_close(block.eval()(x), x + branch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drop_path": 1.0}, r"drop_path=1.0 must be a probability in \[0, 1\)"),
        ({"drop_path": -0.1}, "drop_path=-0.1"),
        ({"dim": -3}, "dim=-3 must be at least 1"),
        ({"num_states": 0}, "num_states=0 must be at least 1"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        VMUNetVSSBlock(**{"dim": 4, **arguments})
