"""Linear attention with weights, and the gated half-block around it."""

import pytest
import torch
from torch.nn import functional

from mlla.layers import MLP, GatedLinearAttention, LinearAttention
from mlla.ops import linear_attention_reference

SIZES = [(1, 1), (1, 7), (7, 28), (20, 80)]


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("num_heads", [1, 2])
def test_attention_is_the_published_formula(size, num_heads):
    layer = LinearAttention(8, num_heads).double()
    x = torch.randn(1, *size, 8, dtype=torch.float64)
    query, key = functional.linear(x, layer.query_key.weight, layer.query_key.bias).split(8, -1)
    phi = [torch.where(g > 0, g + 1, g.exp()) for g in (query, key)]
    attended = linear_attention_reference(*phi, x, num_heads=num_heads)
    local = functional.conv2d(
        x.permute(0, 3, 1, 2),
        layer.local_position.weight,
        layer.local_position.bias,
        padding=1,
        groups=8,
    )
    torch.testing.assert_close(layer(x), attended + local.permute(0, 2, 3, 1))


@torch.no_grad()
def test_gated_attention_is_the_published_formula():
    layer = GatedLinearAttention(8, 2)
    x = torch.randn(2, 5, 6, 8)
    mixed = layer.local_mixing(layer.input_projection(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    gate = functional.silu(layer.gate_projection(x))
    expected = layer.output_projection(layer.attention(functional.silu(mixed)) * gate)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("layer", [LinearAttention(8, 2), GatedLinearAttention(8, 2)], ids=str)
def test_every_weight_gets_a_gradient(layer):
    layer(torch.randn(2, 3, 5, 8)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters())


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_160x160_tokens_in_half_precision(dtype):
    layer = LinearAttention(8, 2)
    x = 8 * torch.randn(1, 160, 160, 8)
    expected = layer(x)
    halved = layer.to(dtype)(x.to(dtype))
    assert halved.dtype == dtype
    error = (halved.float() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_160x160_tokens_under_autocast(dtype):
    layer = LinearAttention(8, 2)
    x = 8 * torch.randn(1, 160, 160, 8)
    expected = layer(x)
    with torch.autocast("cpu", dtype=dtype):
        ours = layer(x)
    error = (ours.float() - expected).abs().max() / expected.abs().max()
    assert error < {torch.float16: 5e-3, torch.bfloat16: 4e-2}[dtype]


def test_mlp_works_token_by_token():
    mlp = MLP(4, 12)
    x = torch.randn(2, 3, 5, 4)
    torch.testing.assert_close(mlp(x)[1, 2, 4], mlp(x[1, 2, 4]))
    expected = mlp.contract(functional.gelu(mlp.expand(x)))
    torch.testing.assert_close(mlp(x), expected)


@pytest.mark.parametrize("layer", [LinearAttention, GatedLinearAttention])
@pytest.mark.parametrize(
    ("dim", "num_heads", "message"),
    [
        (8, 3, "dim=8 does not split into num_heads=3"),
        (8, 0, "dim=8 does not split into num_heads=0"),
        (6, 2, "dim=6 is not a positive multiple of 4.*the next one is 8"),
    ],
)
def test_errors_name_the_argument_and_its_value(layer, dim, num_heads, message):
    with pytest.raises(ValueError, match=message):
        layer(dim, num_heads)


@pytest.mark.parametrize("layer", [LinearAttention, GatedLinearAttention])
def test_num_heads_changes_the_output(layer):
    one, two = layer(8, 1), layer(8, 2)
    two.load_state_dict(one.state_dict())
    x = torch.randn(1, 4, 6, 8)
    assert not torch.allclose(one(x), two(x), rtol=1e-2)
