"""YOLO11 with VM-UNet's VSS block: rows, packaged models, weights kept, training."""

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2PSA, C3k2, Conv, Detect, DWConv

from mlla.blocks import VMUNetVSSBlock
from mlla.yolo import YOLO, model_config
from mlla.yolo.vss_rows import C2PSAVSS, C3k2VSS

ROWS: dict[str, Callable[[], nn.Module]] = {
    "C3k2VSS": lambda: C3k2VSS(32, 48, 2),
    "C2PSAVSS": lambda: C2PSAVSS(32, 32, 2),
}
# the rows of YOLO11 that are replaced, and the parts of them that are new
REPLACED = {"c3k2-vss": (6, 8, 13, 19, 22), "c2psa-vss": (10,)}
NEW = {"c3k2-vss": "m", "c2psa-vss": r"m\.\d+\.attn"}
MODELS = [f"yolo11n-{name}" for name in REPLACED]


def with_weights(row: nn.Module) -> nn.Module:
    """Make every weight matter: projections start small."""
    for name, parameter in row.named_parameters():
        if parameter.dim() == 2 and not name.endswith(("A_log", "D", "dt_proj_bias")):
            nn.init.normal_(parameter, std=0.2)
    return row.eval()


def output_of(row: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return row.eval()(x)


class OnGrid(nn.Module):
    """A stock unit that reads and returns grids."""

    def __init__(self, unit: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, grid: Tensor) -> Tensor:
        return self.unit(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


# -- the rows ----------------------------------------------------------------------------------


def shapes_of(stage: nn.Module, parts: str) -> dict[str, torch.Size]:
    return {n: t.shape for n, t in stage.state_dict().items() if re.match(parts, n)}


@pytest.mark.parametrize("expansion", [0.25, 0.5])
def test_c3k2_vss_is_c3k2_around_other_units(expansion: float) -> None:
    stock, ours = C3k2(48, 64, 2, False, expansion), C3k2VSS(48, 64, 2, expansion)
    assert shapes_of(ours, "cv") == shapes_of(stock, "cv")
    assert [type(unit) for unit in ours.m] == [VMUNetVSSBlock] * 2
    # with the same units it must compute what the stock stage does
    ours.cv1, ours.cv2 = stock.cv1, stock.cv2
    ours.m = nn.ModuleList(OnGrid(unit) for unit in stock.m)
    x = torch.rand(2, 48, 6, 10)
    torch.testing.assert_close(output_of(ours, x), output_of(stock, x))


def test_c2psa_vss_is_c2psa_with_another_attention() -> None:
    stock, ours = C2PSA(128, 128, 2).eval(), C2PSAVSS(128, 128, 2)
    same = r"cv|m\.\d\.ffn"
    assert shapes_of(ours, same) == shapes_of(stock, same)
    ours.load_state_dict({n: t for n, t in stock.state_dict().items() if re.match(same, n)}, False)
    for unit, stock_unit in zip(ours.m, stock.m, strict=True):
        assert isinstance(unit.vss, VMUNetVSSBlock)
        unit.vss = OnGrid(lambda x, attention=stock_unit.attn: x + attention(x))
    x = torch.rand(2, 128, 6, 10)
    torch.testing.assert_close(output_of(ours, x), output_of(stock, x))


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 28), (9, 7)])
def test_a_row_keeps_any_height_and_width(name: str, size: tuple[int, int]) -> None:
    row = ROWS[name]()
    output = output_of(row, torch.rand(2, 32, *size))
    assert output.shape == (2, row.cv2.conv.out_channels, *size)
    assert output.isfinite().all()


@pytest.mark.parametrize("name", ROWS)
def test_a_pixel_depends_most_on_itself(name: str) -> None:
    x = torch.randn(1, 32, 12, 16, requires_grad=True)
    with_weights(ROWS[name]())(x)[0, :, 5, 8].square().sum().backward()
    assert x.grad[0].norm(dim=0).argmax().item() == 5 * 16 + 8


@pytest.mark.parametrize("name", ROWS)
def test_images_of_a_batch_and_memory_formats_do_not_matter(name: str) -> None:
    row, x = with_weights(ROWS[name]()), torch.rand(3, 32, 5, 6)
    expected = torch.cat([output_of(row, x[i : i + 1]) for i in range(3)])
    for other in (x, x.contiguous(memory_format=torch.channels_last), x.repeat(1, 2, 1, 1)[:, :32]):
        torch.testing.assert_close(output_of(row, other), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_half_precision_stays_close_and_finite(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    row, x = with_weights(ROWS[name]()), torch.randn(2, 32, 7, 9)
    expected = output_of(row, x)
    with torch.autocast("cpu", dtype=dtype):
        output = output_of(row, x).float()
    assert (output - expected).norm() / expected.norm() < tolerance
    for scale in (1e-4, 1, 1e3):
        output = output_of(row.to(dtype), (scale * x).to(dtype))
        assert output.dtype == dtype
        assert output.isfinite().all()


def test_the_number_of_blocks_and_the_expansion_matter() -> None:
    for row in (C3k2VSS, C2PSAVSS):
        assert len(row(32, 32, 3).m) == 3
        widths = [row(32, 32, 1, expansion).cv1.conv.out_channels for expansion in (0.25, 0.5)]
        assert widths == [16, 32]


@pytest.mark.parametrize("row", [C3k2VSS, C2PSAVSS])
@pytest.mark.parametrize("expansion", [True, False, 0, -0.5])
def test_c3k_is_refused(row: type[nn.Module], expansion: object) -> None:
    with pytest.raises(ValueError, match=rf"{row.__name__} got expansion={expansion}.*positive"):
        row(32, 32, 1, expansion)


def test_c2psa_vss_refuses_another_width() -> None:
    with pytest.raises(ValueError, match="asks for 64 channels and gets 32"):
        C2PSAVSS(32, 64)


# -- the packaged models -----------------------------------------------------------------------


def parsed(name: str) -> nn.Sequential:
    """Return the rows of a model, without weights."""
    with torch.device("meta"):
        return tasks.parse_model(model_config(f"{name}.yaml"), ch=3, verbose=False)[0]


def block_parameters(width: int) -> int:
    """Count a VSS block: six CxC matrices, four low-rank pairs and 426 vectors of length C."""
    # norm 2; conv 20, inputs and outputs of the scans 256, rates 128, biases and skips 16, norm 4
    return 6 * width**2 + 16 * width * math.ceil(width / 16) + 426 * width


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("architecture", REPLACED)
def test_it_is_the_same_network_at_every_scale(architecture: str, scale: str) -> None:
    stock, ours = (parsed(f"yolo11{scale}{suffix}") for suffix in ("", f"-{architecture}"))
    replaced = REPLACED[architecture]
    depth = {"n": 1, "s": 1, "m": 1, "l": 2, "x": 2}[scale]
    for number, (before, after) in enumerate(zip(stock, ours, strict=True)):
        if number not in replaced:
            assert type(before) is type(after)
            shapes = [{n: p.shape for n, p in row.state_dict().items()} for row in (before, after)]
            assert shapes[0] == shapes[1]
            continue
        assert type(after) is (C3k2VSS if architecture == "c3k2-vss" else C2PSAVSS)
        width = before.cv1.conv.out_channels // 2
        blocks = [unit if architecture == "c3k2-vss" else unit.vss for unit in after.m]
        assert [type(block) for block in blocks] == [VMUNetVSSBlock] * depth
        kept = [
            p.numel() for n, p in before.named_parameters() if not re.match(NEW[architecture], n)
        ]
        expected = sum(kept) + depth * block_parameters(width)
        assert sum(p.numel() for p in after.parameters()) == expected


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("architecture", REPLACED)
def test_the_head_is_that_of_yolo11(architecture: str, scale: str) -> None:
    # Ultralytics gives it to those models only in which it sees a stock C3k2
    head = parsed(f"yolo11{scale}-{architecture}")[-1]
    assert type(head) is Detect
    assert head.legacy is False
    for branch in head.cv3:
        assert [type(conv) for conv in branch[0]] == [DWConv, Conv]
        assert branch[0][0].conv.groups == branch[0][0].conv.in_channels > 1


@pytest.mark.parametrize(("architecture", "kept"), [("c3k2-vss", 349), ("c2psa-vss", 481)])
def test_the_weights_of_yolo11n_are_kept(
    architecture: str, kept: int, stock_checkpoint: Callable[[str], Path]
) -> None:
    path = stock_checkpoint("yolo11n")
    stock = ultralytics.YOLO(path).model.float().state_dict()
    state = YOLO(f"yolo11n-{architecture}").load(path).model.state_dict()
    rows = "|".join(map(str, REPLACED[architecture]))
    replaced = rf"model\.({rows})\.{NEW[architecture]}\."
    expected = {name for name in stock if not re.match(replaced, name)}
    equal = {n for n, t in stock.items() if n in state and torch.equal(state[n], t)}
    assert equal == expected
    assert len(equal) == kept


# -- training ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [MODELS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in MODELS[1:])]
)
def test_it_trains_validates_and_is_found_again(
    name: str,
    dataset: Callable[[str], Path],
    image: Path,
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
    fresh_python: Callable[..., str],
) -> None:
    model = YOLO(name)
    model.train(data=str(dataset("detect")), **train_arguments())
    with (private_folder / "run" / "results.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    losses = [float(v) for k, v in epoch.items() if "loss" in k]
    assert len(losses) == 6
    assert all(math.isfinite(loss) for loss in losses)
    best = private_folder / "run" / "weights" / "best.pt"
    # a process that has never heard of this package
    printed = fresh_python(
        "import sys, torch, ultralytics\n"
        "model = ultralytics.YOLO(sys.argv[1])\n"
        "assert model.model.model[-1].legacy is False\n"
        "result = model(sys.argv[2], imgsz=64, conf=1e-6, verbose=False, device='cpu')[0]\n"
        "print('confidence', float(result.boxes.conf.max()))\n",
        best,
        image,
    )
    confidence = float(re.search(r"confidence (\S+)", printed)[1])
    ours = YOLO(best)(image, imgsz=64, conf=1e-6, verbose=False)[0].boxes.conf.max().item()
    assert confidence == pytest.approx(ours, rel=1e-4)
