"""Unified attention with weights: with MLLA's switches it is MLLA; every part is in its place."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from mlla.blocks import MLLABlock
from mlla.blocks.six_designs_block import SixDesignsBlock
from mlla.layers import GatedLinearAttention
from mlla.layers.core_design import CoreDesign
from mlla.layers.gated_unified_attention import GatedUnifiedAttention
from mlla.layers.learned_positions import LearnedPositions
from mlla.layers.patch_embedding import PatchEmbedding
from mlla.layers.selective_steps import SelectiveSteps
from mlla.layers.unified_attention import UnifiedAttention
from mlla.ops import selective_scan_reference

SIZES = [(1, 1), (3, 5), (7, 4)]
MLLA_DESIGN = CoreDesign(positions=("lepe", "rope"), head_dim=8)
# the projection, the value itself and the local positions have one name in both
SAME_NAMES = {"token_mixer.": "gated_attention."}


def fill(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.eval()


def share_weights(source, target, renames):
    state = {}
    for name, tensor in source.state_dict().items():
        for ours, theirs in renames.items():
            name = name.replace(ours, theirs)
        state[name] = tensor
    target.load_state_dict(state, strict=False)
    assert state.keys() <= target.state_dict().keys()
    return target


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_with_lepe_and_rope_the_gated_layer_is_mllas(size):
    ours = fill(GatedUnifiedAttention(16, 2, MLLA_DESIGN))
    mlla = share_weights(ours, GatedLinearAttention(16, 2), {})
    x = torch.randn(2, *size, 16)
    torch.testing.assert_close(ours(x), mlla(x))


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sub_with_lepe_cpe_and_rope_is_an_mlla_block_with_one_cpe(size):
    design = CoreDesign(positions=("lepe", "cpe", "rope"), head_dim=8)
    ours = fill(SixDesignsBlock(16, 2, design, block_design="sub", kernel_size=3))
    mlla = share_weights(ours, fill(MLLABlock(16, 2)), SAME_NAMES)
    for parameter in mlla.position_before_mlp.parameters():
        parameter.zero_()
    x = torch.randn(2, *size, 16)
    torch.testing.assert_close(ours(x), mlla(x))


@torch.no_grad()
def test_with_mambas_switches_the_layer_is_a_selective_scan_of_its_rows():
    design = CoreDesign(
        input_gate=True, forget_gate=True, shortcut=True, normalise=False, head_dim=4
    )
    layer = fill(UnifiedAttention(6, 1, design))
    x = torch.randn(2, 3, 5, 6)
    tokens = x.flatten(1, 2)[:, None]
    query, key = (functional.elu(layer.query_key(tokens)) + 1).chunk(2, dim=-1)
    hidden = tokens @ layer.steps.reduce.weight.T @ layer.steps.expand.weight.T
    delta = (1 + (hidden + layer.steps.expand.bias).exp()).log()
    rates = -layer.A_log.exp()[None]
    expected = selective_scan_reference(tokens, delta, rates, key, query, layer.D[None])
    torch.testing.assert_close(layer(x), expected[:, 0].unflatten(1, (3, 5)), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_attention_design_is_its_three_projections():
    layer = fill(UnifiedAttention(8, 2, CoreDesign(head_dim=4), value_projection=True))
    x = torch.randn(1, 2, 3, 8)
    tokens = x.flatten(1, 2)[0]
    q, k = (functional.elu(layer.query_key(tokens)) + 1).chunk(2, dim=-1)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        weights = q[:, part] @ k[:, part].T
        heads.append(weights / weights.sum(1, keepdim=True) @ layer.value(tokens)[:, part])
    expected = torch.cat(heads, dim=1).unflatten(0, (2, 3))[None]
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_without_normaliser_tokens_get_the_mean_of_what_they_see():
    layer = fill(UnifiedAttention(8, 1, CoreDesign(head_dim=4, normalise=False)))
    x = torch.randn(1, 4, 4, 8)
    q, k = (functional.elu(layer.query_key(x.flatten(1, 2)[0])) + 1).chunk(2, dim=-1)
    expected = (q @ k.T / 16) @ x.flatten(1, 2)[0]
    torch.testing.assert_close(layer(x).flatten(1, 2)[0], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_steps_start_between_their_bounds_for_an_average_token():
    steps = SelectiveSteps(256, step_min=0.01, step_max=0.2)(torch.zeros(1, 1, 1, 256))
    assert steps.min() >= 0.0099
    assert steps.max() <= 0.201
    # evenly on a logarithmic scale
    assert steps.log().mean().item() == pytest.approx(-3.107, abs=0.25)


def test_steps_have_a_sixteenth_of_the_width_between_their_projections():
    assert SelectiveSteps(33).reduce.weight.shape == (3, 33)
    assert SelectiveSteps(33, rank=5).expand.weight.shape == (33, 5)


@torch.no_grad()
def test_forget_rates_start_as_those_of_s4d():
    layer = UnifiedAttention(6, 2, CoreDesign(forget_gate=True, head_dim=4))
    torch.testing.assert_close(layer.forget_rates(), -torch.arange(1.0, 5).expand(6, 4))
    with pytest.raises(ValueError, match="no forget gate; build it with forget_gate=True"):
        UnifiedAttention(6, 2).forget_rates()


@torch.no_grad()
def test_learned_positions_are_added_and_resized():
    positions = LearnedPositions(3, (4, 6))
    assert torch.equal(positions(torch.zeros(2, 4, 6, 3)), positions.table.expand(2, 4, 6, 3))
    # a plane stays a plane: twice as many rows half as far apart
    rows = torch.arange(4.0)[:, None, None]
    positions.table.copy_(rows.expand(4, 6, 3))
    resized = positions(torch.zeros(1, 8, 6, 3))[0, :, 0, 0]
    torch.testing.assert_close(resized[3:5], torch.tensor([1.25, 1.75]), atol=0.05, rtol=0)
    with pytest.raises(ValueError, match=r"grid_size=\(0, 4\) must have sides of at least 1"):
        LearnedPositions(3, (0, 4))


@torch.no_grad()
def test_patches_do_not_overlap_and_missing_pixels_are_zero():
    layer = PatchEmbedding(2, 8)
    image = torch.randn(1, 2, 6, 9)
    grid = layer(image)
    assert grid.shape == (1, 2, 3, 8)
    patch = torch.zeros(2, 4, 4)
    patch[:, :2, :1] = image[0, :, 4:, 8:]
    expected = layer.norm(
        torch.einsum("oihw,ihw->o", layer.project.weight, patch) + layer.project.bias
    )
    torch.testing.assert_close(grid[0, 1, 2], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="patch_size=0 must be at least 1"):
        PatchEmbedding(3, 8, 0)


@pytest.mark.parametrize("block_design", ["attention", "sub", "all"])
@pytest.mark.parametrize(
    "design",
    [
        CoreDesign(head_dim=2, positions=("ape", "lepe", "cpe", "rope")),
        CoreDesign(head_dim=2, input_gate=True, forget_gate=True, shortcut=True),
    ],
    ids=["positions", "mamba"],
)
def test_gradients_pass_gradcheck(block_design, design):
    block = SixDesignsBlock(4, 2, design, block_design=block_design, grid_size=(2, 2)).double()
    x = torch.randn(2, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, x, fast_mode=True)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(dtype):
    design = CoreDesign(input_gate=True, forget_gate=True, shortcut=True, head_dim=4)
    block = fill(SixDesignsBlock(8, 2, design, block_design="sub"))
    x = torch.randn(1, 12, 12, 8)
    expected = block(x)
    with torch.autocast("cpu", dtype=dtype):
        mixed = block(x)
    half = block.to(dtype)(x.to(dtype)).float()
    for ours in (mixed, half):
        assert (ours - expected).abs().max() <= 0.05 * expected.abs().max()


def test_errors_name_the_argument_and_its_value():
    for build, message in [
        (lambda: GatedUnifiedAttention(8, 2, expansion=0), "expansion=0 must be at least 1"),
        (lambda: SixDesignsBlock(8, 2, drop_path=1.5), "drop_path=1.5 must be a probability"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


def test_the_layer_prints_its_switches():
    text = repr(UnifiedAttention(8, 2, CoreDesign(shortcut=True)))
    assert "num_heads=2, input_gate=False, forget_gate=False, shortcut=True" in text
