"""Six faults of the "MLLAttention" that circulates in tutorials; none may be ours.

They were found by running eight public copies. Each test fails on them.
"""

import pytest
import torch

from mlla.blocks import MLLABlock
from mlla.layers import GatedLinearAttention, LinearAttention
from mlla.ops import rotate_by_position

LAYERS = [MLLABlock, GatedLinearAttention, LinearAttention]


def influence_on(layer, size, place):
    """Return how much each pixel of the input moves the output at one place."""
    x = torch.randn(1, *size, 16, requires_grad=True)
    output = layer(x)[0, place[0], place[1]]
    total = torch.zeros(size)
    for channel in output:
        (gradient,) = torch.autograd.grad(channel, x, retain_graph=True)
        total += gradient[0].square().sum(dim=-1)
    return total


@pytest.mark.parametrize("place", [(8, 8), (0, 0), (3, 14), (15, 2)])
@pytest.mark.parametrize("size", [(16, 16), (20, 80)], ids=["16x16", "20x80"])
@pytest.mark.parametrize("layer", LAYERS)
def test_1_a_pixel_depends_most_on_its_own_place(layer, size, place):
    total = influence_on(layer(16, 2), size, place)
    row, column = divmod(total.argmax().item(), size[1])
    assert max(abs(row - place[0]), abs(column - place[1])) <= 1
    top, left = max(place[0] - 2, 0), max(place[1] - 2, 0)
    near = total[top : place[0] + 3, left : place[1] + 3]
    assert near.mean() > 10 * total.mean()


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("size", [(48, 80), (20, 80), (7, 28), (3, 5)])
def test_2_maps_need_not_be_square(layer, size):
    assert layer(16, 2)(torch.randn(1, *size, 16)).shape == (1, *size, 16)


def test_3_positions_have_two_dimensions():
    query, key = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))

    def score(query_place, key_place):
        grid = torch.zeros(2, 4, 8, 16)
        grid[0, query_place[0], query_place[1]] = query
        grid[1, key_place[0], key_place[1]] = key
        turned_query, turned_key = rotate_by_position(grid)
        return (turned_query[query_place] * turned_key[key_place]).sum()

    # neighbours in the row, and the end of one row with the start of the next: both one token
    # apart in a flat list
    assert not torch.isclose(score((0, 0), (0, 1)), score((0, 7), (1, 0)), rtol=1e-2)
    # one row apart, wherever
    torch.testing.assert_close(score((0, 0), (1, 0)), score((2, 5), (3, 5)))


@torch.no_grad()
def test_4_a_block_keeps_its_input_and_gates_its_attention():
    block = MLLABlock(16, 2)
    x = torch.randn(1, 6, 9, 16)
    block.gated_attention.gate_projection.weight.zero_()
    block.gated_attention.gate_projection.bias.fill_(-100.0)
    closed = block.gated_attention(x)
    torch.testing.assert_close(
        closed, block.gated_attention.output_projection.bias.expand(closed.shape)
    )
    for module in (
        block.position_before_attention,
        block.position_before_mlp,
        block.gated_attention.output_projection,
        block.mlp.contract,
    ):
        module.weight.zero_()
        module.bias.zero_()
    torch.testing.assert_close(block(x), x)


@torch.no_grad()
@pytest.mark.parametrize("layer", LAYERS)
def test_5_num_heads_is_obeyed(layer):
    x = torch.randn(1, 6, 9, 16)
    reference = layer(16, 1)
    outputs = []
    for num_heads in (1, 2, 4, 8):
        other = layer(16, num_heads)
        other.load_state_dict(reference.state_dict())
        outputs.append(other(x))
    for first in range(4):
        for second in range(first):
            assert not torch.allclose(outputs[first], outputs[second], rtol=1e-3)


@pytest.mark.parametrize("layer", LAYERS)
def test_6_it_prints(layer):
    assert "dim=16, num_heads=2" in repr(layer(16, 2))
