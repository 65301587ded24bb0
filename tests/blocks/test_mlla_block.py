import pytest
import torch

from mlla.blocks import MLLABlock


def randomised(block):
    """Make every weight matter: norms and biases start as identities, projections small."""
    for parameter in block.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.3)
        elif parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return block


@torch.no_grad()
def test_block_is_the_published_formula():
    block = randomised(MLLABlock(8, 2))
    x = torch.randn(2, 5, 6, 8)

    def convolved(conv, grid):
        return conv(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    y = x + convolved(block.position_before_attention, x)
    y = y + block.gated_attention(block.attention_norm(y))
    y = y + convolved(block.position_before_mlp, y)
    y = y + block.mlp(block.mlp_norm(y))
    torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 28), (20, 80), (13, 5)])
def test_any_size_keeps_its_shape_and_gives_every_weight_a_gradient(size):
    block = randomised(MLLABlock(8, 2))
    x = torch.randn(2, *size, 8, requires_grad=True)
    output = block(x)
    assert output.shape == x.shape
    output.square().sum().backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in block.parameters())
    assert all(p.grad.abs().sum() > 0 for p in block.parameters())


def test_gradients_pass_gradcheck():
    block = randomised(MLLABlock(4, 1)).double()
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x, fast_mode=True)


def test_nothing_in_the_state_depends_on_the_resolution():
    block = MLLABlock(8, 2)
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    buffers = dict(block.named_buffers())
    for size in ((4, 4), (9, 31), (1, 2)):
        block(torch.randn(1, *size, 8))
    assert before.keys() == block.state_dict().keys()
    assert all(torch.equal(before[name], t) for name, t in block.state_dict().items())
    assert dict(block.named_buffers()) == buffers == {}
    assert not [v for m in block.modules() for v in vars(m).values() if torch.is_tensor(v)]


@torch.no_grad()
def test_layout_of_the_memory_does_not_matter():
    block = MLLABlock(8, 2)
    grid = torch.randn(2, 6, 10, 8)
    expected = block(grid)
    for other in (
        grid.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        grid.transpose(1, 2).contiguous().transpose(1, 2),
        torch.stack((grid, grid), -1)[..., 0],
    ):
        assert not other.is_contiguous()
        torch.testing.assert_close(block(other), expected)


def test_convolutions_get_the_grid_without_a_copy():
    seen = []
    block = MLLABlock(8, 2)
    block.position_before_attention.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    grid = torch.randn(2, 6, 10, 8)
    block(grid)
    assert seen[0].data_ptr() == grid.data_ptr()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_inputs_of_any_scale_stay_finite(dtype, scale):
    block = MLLABlock(8, 2).to(dtype)
    assert block((scale * torch.randn(1, 12, 16, 8)).clamp(-2e4, 2e4).to(dtype)).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_inputs_of_any_scale_stay_finite_under_autocast(dtype, scale):
    block = randomised(MLLABlock(8, 2))
    x = scale * torch.randn(1, 12, 16, 8)
    with torch.autocast("cpu", dtype=dtype):
        output = block(x)
    output.mean().backward()
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in block.parameters())


@torch.no_grad()
@pytest.mark.parametrize("changed", [{"num_heads": 2}, {"mlp_ratio": 2.0}, {"drop_path": 0.5}])
def test_every_option_changes_weights_or_output(changed):
    default = {"num_heads": 1, "mlp_ratio": 4.0, "drop_path": 0.0}
    one = randomised(MLLABlock(8, **default))
    two = MLLABlock(8, **{**default, **changed})
    shapes = [[tuple(p.shape) for p in block.parameters()] for block in (one, two)]
    if shapes[0] == shapes[1]:
        two.load_state_dict(one.state_dict())
        x = torch.randn(16, 3, 4, 8)
        assert not torch.allclose(one(x), two(x), rtol=1e-2)


@torch.no_grad()
def test_drop_path_skips_branches_of_samples_only_while_training():
    block = randomised(MLLABlock(8, 1, drop_path=0.5))
    x = torch.randn(64, 1, 1, 8)
    shortcut = x + block.position_before_attention(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    shortcut = shortcut + block.position_before_mlp(shortcut.permute(0, 3, 1, 2)).permute(
        0, 2, 3, 1
    )
    skipped = (block(x) - shortcut).abs().amax(dim=(1, 2, 3)) < 1e-6
    # both branches are skipped for one sample in four
    assert 4 <= skipped.sum() <= 32
    block.eval()
    torch.testing.assert_close(block(x), block(x))
    assert ((block(x) - shortcut).abs().amax(dim=(1, 2, 3)) > 1e-6).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 8, "num_heads": 3}, "dim=8 does not split into num_heads=3"),
        ({"dim": 6, "num_heads": 2}, "dim=6 is not a positive multiple of 4"),
        ({"dim": 8, "num_heads": 2, "mlp_ratio": 0}, "mlp_ratio=0 must be positive"),
        ({"dim": 8, "num_heads": 2, "drop_path": 1.0}, r"drop_path=1.0 must be .* in \[0, 1\)"),
        ({"dim": 8, "num_heads": 2, "drop_path": -0.1}, "drop_path=-0.1"),
    ],
)
def test_errors_name_the_argument_and_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        MLLABlock(**arguments)


def test_a_block_starts_with_the_published_initial_values():
    torch.manual_seed(0)
    layers = [m for m in MLLABlock(128, 4).modules() if isinstance(m, torch.nn.Linear)]
    assert len(layers) == 6
    for layer in layers:
        # a normal distribution of std 0.02: 99.7 % within three of them
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert (layer.weight.abs() < 0.06).float().mean() == pytest.approx(0.997, abs=0.002)
        assert not layer.bias.any()
