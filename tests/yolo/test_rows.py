"""The modules that YAMLs name: shapes, laws, options, and what goes in and out of them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.modules import C2f

from mlla.blocks import MLLABlock
from mlla.yolo.rows import (
    C2fMLLA,
    Inserted,
    MLLABlocks,
    MLLADownsample,
    MLLAFeatures,
    MLLAStem,
)
from mlla.yolo.yolo11_rows import C2PSAMLLA, C3k2MLLA

SAME_SIZE: dict[str, Callable[[], nn.Module]] = {
    "MLLABlocks": lambda: MLLABlocks(32, 32, 2),
    "C2fMLLA": lambda: C2fMLLA(32, 64, 2),
    "C3k2MLLA": lambda: C3k2MLLA(32, 64, 2),
    "C2PSAMLLA": lambda: C2PSAMLLA(32, 32, 2, 1.0),
    "Inserted": lambda: Inserted(32, "mlla", "none"),
}


def output_of(row: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return row.eval()(x)


@pytest.mark.parametrize("name", SAME_SIZE)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 28), (9, 7), (20, 80), (48, 80)])
def test_a_row_keeps_any_height_and_width(name: str, size: tuple[int, int]) -> None:
    output = output_of(SAME_SIZE[name](), torch.rand(2, 32, *size))
    assert output.shape == (2, 64 if name in ("C2fMLLA", "C3k2MLLA") else 32, *size)
    assert output.isfinite().all()


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (6, 130)])
def test_stem_and_downsampling_halve_and_round_up(size: tuple[int, int]) -> None:
    height, width = size
    stem = output_of(MLLAStem(3, 16), torch.rand(1, 3, height, width))
    assert stem.shape == (1, 16, -(-height // 4), -(-width // 4))
    down = output_of(MLLADownsample(16, 32), torch.rand(1, 16, height, width))
    assert down.shape == (1, 32, -(-height // 2), -(-width // 2))


@pytest.mark.parametrize("name", SAME_SIZE)
def test_a_pixel_depends_most_on_itself(name: str) -> None:
    # reshaping (B, C, H, W) to (B, H*W, C) without a permutation scrambles space and channels
    torch.manual_seed(0)
    x = torch.randn(1, 32, 16, 16, requires_grad=True)
    output = SAME_SIZE[name]().eval()(x)
    output[0, :, 8, 8].square().sum().backward()
    influence = x.grad[0].norm(dim=0)
    assert influence.argmax().item() == 8 * 16 + 8


@pytest.mark.parametrize("name", SAME_SIZE)
def test_the_images_of_a_batch_do_not_see_each_other(name: str) -> None:
    row, x = SAME_SIZE[name](), torch.rand(3, 32, 5, 6)
    alone = torch.cat([output_of(row, x[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(output_of(row, x), alone, rtol=1e-4, atol=1e-5)


def test_blocks_in_sequence_are_the_blocks_on_grids() -> None:
    row, x = MLLABlocks(32, 32, 3).eval(), torch.rand(2, 32, 5, 9)
    assert [type(block) for block in row.blocks] == [MLLABlock] * 3
    grid = x.permute(0, 2, 3, 1)
    for block in row.blocks:
        grid = block(grid)
    torch.testing.assert_close(row(x), grid.permute(0, 3, 1, 2))


def test_c2f_mlla_is_c2f_around_other_units() -> None:
    stock, ours = C2f(48, 64, 2), C2fMLLA(48, 64, 2)
    shapes = [
        {name: t.shape for name, t in stage.state_dict().items() if name.startswith("cv")}
        for stage in (stock, ours)
    ]
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 12

    class OnGrid(nn.Module):
        def __init__(self, unit: nn.Module) -> None:
            super().__init__()
            self.unit = unit

        def forward(self, grid: Tensor) -> Tensor:
            return self.unit(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    # with the same units it must compute what the stock stage does
    ours.cv1, ours.cv2 = stock.cv1, stock.cv2
    ours.m = nn.ModuleList(OnGrid(unit) for unit in stock.m)
    x = torch.rand(2, 48, 6, 10)
    torch.testing.assert_close(output_of(ours, x), output_of(stock, x))


def test_the_zero_gate_passes_its_input_on_exactly() -> None:
    x = 1e3 * torch.randn(2, 32, 7, 5)
    row = Inserted(32, "mlla", "zero")
    assert torch.equal(output_of(row, x), x)


def test_an_open_gate_gives_the_block() -> None:
    row, x = Inserted(32, "mlla", "zero"), torch.rand(2, 32, 7, 5)
    nn.init.ones_(row.gate)
    torch.testing.assert_close(output_of(row, x), output_of(row.block, x))


def test_the_zero_gate_gets_the_first_gradient() -> None:
    row = Inserted(32, "mlla", "zero")
    row(torch.rand(2, 32, 7, 5)).square().sum().backward()
    assert (row.gate.grad != 0).all()


def test_features_are_normalised_stages_at_four_strides() -> None:
    features = output_of(MLLAFeatures(3, 512, 1, "mlla_tiny"), torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape) for f in features] == [
        (1, 64, 16, 24),
        (1, 128, 8, 12),
        (1, 256, 4, 6),
        (1, 512, 2, 3),
    ]
    for feature in features:
        # a fresh layer norm has no offset
        assert feature.mean(dim=1).abs().max() < 1e-5


# -- every option matters ----------------------------------------------------------------------


def number_of_weights(row: nn.Module) -> int:
    return sum(p.numel() for p in row.parameters())


def test_more_blocks_mean_more_weights() -> None:
    one, three = MLLABlocks(32, 32, 1), MLLABlocks(32, 32, 3)
    assert number_of_weights(three) == 3 * number_of_weights(one)


def test_expansion_is_the_width_of_the_units() -> None:
    assert C2fMLLA(64, 64, 1, 1.0).m[0].attention_norm.normalized_shape == (64,)
    assert C2fMLLA(64, 64, 1).m[0].attention_norm.normalized_shape == (32,)


@pytest.mark.parametrize(
    "row", [lambda d: MLLABlocks(32, 32, 1, d), lambda d: C2fMLLA(64, 64, 1, 0.5, d)]
)
def test_head_dim_changes_the_output(row: Callable[[int], nn.Module]) -> None:
    whole, split = row(32), row(8)
    for parameter in whole.parameters():
        if parameter.dim() == 2:
            # projections start small
            nn.init.normal_(parameter, std=0.3)
    split.load_state_dict(whole.state_dict())
    width = 64 if isinstance(whole, C2fMLLA) else 32
    x = torch.randn(1, width, 5, 5)
    assert not torch.allclose(output_of(whole, x), output_of(split, x), atol=1e-4)


def test_a_zero_gate_passes_the_input_until_it_opens() -> None:
    row = MLLABlocks(32, 32, 1, 32, "zero")
    x = torch.randn(1, 32, 5, 5)
    assert torch.equal(output_of(row, x), x)
    row.gate.data.fill_(1.0)
    torch.testing.assert_close(
        output_of(row, x), output_of(row.blocks, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    )
    with pytest.raises(ValueError, match="gate='open' is unknown; choose 'zero' or 'none'"):
        MLLABlocks(32, 32, 1, 32, "open")


def test_stages_chooses_the_features_and_their_norms() -> None:
    x = torch.rand(1, 3, 32, 64)
    every, last = (MLLAFeatures(3, 512, 1, "mlla_tiny", stages) for stages in ([0, 1, 2, 3], [3]))
    last.load_state_dict({name: every.state_dict()[name] for name in last.state_dict()})
    (feature,) = output_of(last, x)
    assert torch.equal(feature, output_of(every, x)[3])
    # the norms of three stages less: 64, 128 and 256 weights and as many biases
    assert number_of_weights(every) - number_of_weights(last) == 2 * (64 + 128 + 256)


def test_variant_chooses_the_backbone() -> None:
    tiny, small = (MLLAFeatures(3, 512, 1, f"mlla_{size}") for size in ("tiny", "small"))
    assert number_of_weights(tiny) < number_of_weights(small)


def test_drop_path_rate_makes_training_stochastic() -> None:
    torch.manual_seed(0)
    row, x = MLLAFeatures(3, 512, 1, "mlla_tiny", drop_path_rate=0.9), torch.rand(2, 3, 32, 32)
    assert not torch.equal(row.train()(x)[3], row.train()(x)[3])


# -- what networks do to rows ------------------------------------------------------------------


@pytest.mark.parametrize("name", SAME_SIZE)
def test_channels_last_input_gives_the_same_output(name: str) -> None:
    row, x = SAME_SIZE[name](), torch.rand(2, 32, 6, 10)
    expected = output_of(row, x)
    torch.testing.assert_close(
        output_of(row, x.contiguous(memory_format=torch.channels_last)), expected
    )
    strided = torch.rand(2, 64, 6, 10)[:, ::2].copy_(x)
    torch.testing.assert_close(output_of(row, strided), expected)


@pytest.mark.parametrize("name", SAME_SIZE)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_autocast_stays_close_to_float32(name: str, dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    row, x = SAME_SIZE[name](), torch.randn(2, 32, 9, 12)
    expected = output_of(row, x)
    with torch.autocast("cpu", dtype=dtype):
        output = output_of(row, x).float()
    assert (output - expected).norm() / expected.norm() < tolerance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_over_many_tokens_do_not_overflow_under_autocast(dtype: torch.dtype) -> None:
    # 25,600 terms of about 4 are more than float16 holds
    row = MLLABlocks(32, 32)
    x = 4 * torch.ones(1, 32, 160, 160) + torch.randn(1, 32, 160, 160)
    with torch.autocast("cpu", dtype=dtype):
        assert output_of(row, x).isfinite().all()


@pytest.mark.parametrize("name", SAME_SIZE)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_row_in_half_precision_stays_finite(name: str, dtype: torch.dtype) -> None:
    row = SAME_SIZE[name]().to(dtype)
    for scale in (1e-4, 1, 1e3):
        output = output_of(row, (scale * torch.randn(1, 32, 9, 12)).to(dtype))
        assert output.dtype == dtype
        assert output.isfinite().all()


@pytest.mark.parametrize("name", SAME_SIZE)
def test_a_row_can_be_printed(name: str) -> None:
    assert "dim=32" in repr(SAME_SIZE[name]())
