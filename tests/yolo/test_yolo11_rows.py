"""C3k2 and C2PSA around MLLA: what stays as in the stock rows, what replaces the rest, options."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.modules import C2PSA, C3k2

from mlla.blocks import MLLABlock
from mlla.layers import GatedLinearAttention
from mlla.yolo.yolo11_rows import C2PSAMLLA, C3k2MLLA, PSABlockMLLA


class OnGrid(nn.Module):
    """A stock unit that reads and returns grids."""

    def __init__(self, unit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, grid: Tensor) -> Tensor:
        return self.unit(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def shapes_of(stage: nn.Module, parts: str) -> dict[str, torch.Size]:
    return {n: t.shape for n, t in stage.state_dict().items() if re.match(parts, n)}


def output_of(row: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return row.eval()(x)


@pytest.mark.parametrize("expansion", [0.25, 0.5])
def test_c3k2_mlla_is_c3k2_around_other_units(expansion: float) -> None:
    stock, ours = C3k2(48, 64, 2, False, expansion), C3k2MLLA(48, 64, 2, expansion)
    assert shapes_of(ours, "cv") == shapes_of(stock, "cv")
    assert [type(unit) for unit in ours.m] == [MLLABlock] * 2
    # with the same units it must compute what the stock stage does
    ours.cv1, ours.cv2 = stock.cv1, stock.cv2
    ours.m = nn.ModuleList(OnGrid(unit) for unit in stock.m)
    x = torch.rand(2, 48, 6, 10)
    torch.testing.assert_close(output_of(ours, x), output_of(stock, x))


def test_c2psa_mlla_is_c2psa_with_another_attention() -> None:
    stock, ours = C2PSA(128, 128, 2), C2PSAMLLA(128, 128, 2)
    same = r"cv|m\.\d\.ffn"
    assert shapes_of(ours, same) == shapes_of(stock, same)
    ours.load_state_dict({n: t for n, t in stock.state_dict().items() if re.match(same, n)}, False)
    for unit, stock_unit in zip(ours.m, stock.m, strict=True):
        # without its position encoding and norm, what is left is attention, then convolutions
        nn.init.zeros_(unit.position_before_attention.weight)
        nn.init.zeros_(unit.position_before_attention.bias)
        unit.attention_norm = nn.Identity()
        unit.gated_attention = OnGrid(stock_unit.attn)
    x = torch.rand(2, 128, 6, 10)
    torch.testing.assert_close(output_of(ours, x), output_of(stock, x))


def test_its_attention_is_the_first_half_of_an_mlla_block() -> None:
    unit, block = PSABlockMLLA(64, 2), MLLABlock(64, 2).eval()
    halves = ("position_before_attention", "attention_norm", "gated_attention")
    for name in halves:
        nn.init.normal_(next(block.get_submodule(name).parameters()))
    first = {n: t for n, t in block.state_dict().items() if n.startswith(halves)}
    unit.load_state_dict(first, strict=False)
    # what follows adds nothing on either side
    for layer in (unit.ffn[1].conv, block.position_before_mlp, block.mlp.contract):
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
    x = torch.rand(2, 64, 5, 7)
    expected = output_of(block, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(output_of(unit, x), expected)


@pytest.mark.parametrize("row", [C3k2MLLA, C2PSAMLLA])
def test_blocks_and_expansion_matter(row: type[nn.Module]) -> None:
    assert len(row(64, 64, 3).m) == 3
    widths = [row(64, 64, 1, expansion).cv1.conv.out_channels for expansion in (0.25, 0.5)]
    assert widths == [32, 64]


def heads_in(row: nn.Module) -> list[int]:
    return [m.attention.num_heads for m in row.modules() if isinstance(m, GatedLinearAttention)]


@pytest.mark.parametrize("row", [C3k2MLLA, C2PSAMLLA])
def test_narrow_blocks_have_one_head_and_others_heads_of_32(row: type[nn.Module]) -> None:
    assert heads_in(row(32, 32)) == [1]
    assert heads_in(row(64, 64)) == [1]
    assert heads_in(row(256, 256)) == [4]
    assert heads_in(row(256, 256, 1, 0.5, 16)) == [8]


@pytest.mark.parametrize("row", [C3k2MLLA, C2PSAMLLA])
@pytest.mark.parametrize("head_dim", [0, -32, 8.0, 24, True, "32"])
def test_heads_that_do_not_fit_are_refused(row: type[nn.Module], head_dim: object) -> None:
    with pytest.raises(ValueError, match=rf"{row.__name__} works at 64 channels .*{head_dim!r}"):
        row(128, 128, 1, 0.5, head_dim)


@pytest.mark.parametrize("row", [C3k2MLLA, C2PSAMLLA])
@pytest.mark.parametrize("expansion", [True, False, 0, -0.5])
def test_c3k_is_refused(row: type[nn.Module], expansion: object) -> None:
    with pytest.raises(ValueError, match=rf"{row.__name__} got expansion={expansion}.*positive"):
        row(64, 64, 1, expansion)


def test_c2psa_mlla_refuses_another_width() -> None:
    with pytest.raises(ValueError, match="asks for 64 channels and gets 32"):
        C2PSAMLLA(32, 64)
