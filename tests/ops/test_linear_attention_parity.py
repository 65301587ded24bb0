"""The fast form of linear attention against the N x N one, and that against plain loops."""

import math

import pytest
import torch

from mlla.ops import linear_attention, linear_attention_reference

SIZES = [(1, 1), (1, 7), (7, 28), (20, 80), (5, 9), (12, 12)]
# largest allowed |fast - reference| / max(1, max |reference|), reference in float64
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 8e-3,
    torch.float16: 1e-3,
}


def grids(height, width, channels=8, batch=2, dtype=torch.float64):
    query, key = (torch.rand(batch, height, width, channels) + 0.05 for _ in range(2))
    return [g.to(dtype) for g in (query, key, torch.randn(batch, height, width, channels))]


def relative_error(ours, expected):
    return ((ours.double() - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def with_gradients(attention, inputs, cotangent, **options):
    leaves = [grid.detach().clone().requires_grad_() for grid in inputs]
    output = attention(*leaves, **options)
    return [output, *torch.autograd.grad(output, leaves, cotangent.to(output.dtype))]


def attention_in_loops(query, key, value, num_heads, eps=1e-6):
    """Equation 3 of the paper with its rotation, one scalar at a time."""
    height, width, channels = query.shape
    quarter, head = channels // 4, channels // num_heads
    tokens = [(row, column) for row in range(height) for column in range(width)]

    def rotated(grid, row, column):
        pairs = []
        for pair in range(channels // 2):
            place = row if pair < quarter else column
            angle = place * 10000 ** (-(pair % quarter) / quarter)
            turned = complex(*grid[row, column, 2 * pair : 2 * pair + 2].tolist()) * complex(
                math.cos(angle), math.sin(angle)
            )
            pairs += [turned.real, turned.imag]
        return pairs

    output = torch.zeros_like(value)
    for row, column in tokens:
        turned_query = rotated(query, row, column)
        for h in range(num_heads):
            part = range(h * head, (h + 1) * head)
            mean_key = [sum(float(key[t][c]) for t in tokens) / len(tokens) for c in part]
            normaliser = eps + sum(
                float(query[row, column, c]) * m for c, m in zip(part, mean_key, strict=True)
            )
            for token in tokens:
                turned_key = rotated(key, *token)
                score = sum(turned_query[c] * turned_key[c] for c in part) / len(tokens)
                output[row, column, part.start : part.stop] += (
                    score / normaliser * value[token][part.start : part.stop]
                )
    return output


def test_reference_is_the_formula_of_the_paper():
    query, key, value = grids(3, 4, channels=8, batch=1)
    expected = attention_in_loops(query[0], key[0], value[0], num_heads=2)
    ours = linear_attention_reference(query, key, value, num_heads=2)[0]
    assert relative_error(ours, expected) < 1e-12


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_fast_form_equals_reference_in_output_and_every_gradient(size, dtype):
    inputs = grids(*size, dtype=dtype)
    cotangent = torch.randn_like(inputs[2])
    ours = with_gradients(linear_attention, inputs, cotangent, num_heads=2)
    exact = [grid.double() for grid in inputs]
    expected = with_gradients(linear_attention_reference, exact, cotangent.double(), num_heads=2)
    for name, mine, theirs in zip(("output", "query", "key", "value"), ours, expected, strict=True):
        assert mine.dtype == dtype
        assert relative_error(mine, theirs) <= TOLERANCE[dtype], name


@pytest.mark.parametrize("num_heads", [1, 2, 4])
@pytest.mark.parametrize("rotary", [True, False])
def test_options_agree_with_reference(num_heads, rotary):
    inputs = grids(4, 6)
    options = {"num_heads": num_heads, "rotary": rotary, "eps": 1e-2}
    ours = linear_attention(*inputs, **options)
    assert relative_error(ours, linear_attention_reference(*inputs, **options)) < 1e-12


@pytest.mark.parametrize("attention", [linear_attention, linear_attention_reference])
@pytest.mark.parametrize(
    "changed", [{"num_heads": 2}, {"rotary": False}, {"eps": 0.1}], ids=lambda option: str(option)
)
def test_every_option_changes_the_output(attention, changed):
    inputs = grids(3, 5)
    default = {"num_heads": 1, "rotary": True, "eps": 1e-6}
    assert not torch.allclose(
        attention(*inputs, **default), attention(*inputs, **{**default, **changed}), rtol=1e-3
    )


def test_gradients_pass_gradcheck():
    inputs = [grid.requires_grad_() for grid in grids(2, 3, channels=4, batch=1)]
    assert torch.autograd.gradcheck(lambda *g: linear_attention(*g, num_heads=1), inputs)


def test_layout_of_the_memory_does_not_matter():
    inputs = grids(4, 6)
    expected = linear_attention(*inputs, num_heads=2)
    channels_first = [g.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for g in inputs]
    strided = [torch.stack((g, -g), dim=-1)[..., 0] for g in inputs]
    for others in (channels_first, strided):
        assert not any(grid.is_contiguous() for grid in others)
        torch.testing.assert_close(linear_attention(*others, num_heads=2), expected)


@pytest.mark.parametrize("attention", [linear_attention, linear_attention_reference])
@pytest.mark.parametrize(
    ("shapes", "num_heads", "message"),
    [
        ([(2, 12, 8)] * 3, 2, r"query must be a grid \(B, H, W, C\), got shape \(2, 12, 8\)"),
        ([(1, 3, 4, 8), (1, 4, 3, 8), (1, 3, 4, 8)], 2, r"key has shape \(1, 4, 3, 8\)"),
        ([(1, 3, 4, 8), (1, 3, 4, 8), (1, 3, 4, 4)], 2, r"value has shape \(1, 3, 4, 4\)"),
        ([(1, 0, 4, 8)] * 3, 2, "query has no token: H=0, W=4"),
        ([(1, 3, 4, 8)] * 3, 3, "num_heads=3 does not divide the width C=8"),
        ([(1, 3, 4, 8)] * 3, 0, "num_heads=0 does not divide the width C=8"),
        ([(1, 3, 4, 6)] * 3, 2, "channels divisible by 4.*got C=6"),
    ],
)
def test_errors_name_the_argument_and_its_value(attention, shapes, num_heads, message):
    inputs = [torch.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        attention(*inputs, num_heads=num_heads)
