"""Efficient multi-scale attention in detectors: rows, packaged models and plug."""

import csv
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics

from mlla.layers import EfficientMultiscaleAttention
from mlla.yolo import YOLO, plug
from mlla.yolo.multiscale_attention_rows import MultiscaleAttention

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
# published sizes with 80 classes before fusing, and the widths that the head reads
SIZES = {
    "yolov8n": (3_157_200, (64, 128, 256)),
    "yolov8s": (11_166_560, (128, 256, 512)),
    "yolov8m": (25_902_640, (192, 384, 576)),
    "yolo11n": (2_624_080, (64, 128, 256)),
    "yolo11m": (20_114_688, (256, 512, 512)),
}


@pytest.mark.parametrize("family", SIZES)
def test_the_models_are_the_stock_ones_and_the_attention(family: str) -> None:
    stock, widths = SIZES[family]
    network = YOLO(f"{family}-multiscale-attention").model
    # groups of c channels have 10 c^2 + 4 c weights; gates have one number per channel
    groups = [width // 32 for width in widths]
    expected = stock + sum(10 * c**2 + 4 * c for c in groups) + sum(widths)
    assert sum(p.numel() for p in network.parameters()) == expected
    rows = [row for row in network.model if isinstance(row, MultiscaleAttention)]
    assert len(rows) == 3
    head = network.model[-1]
    assert head.f == [row.i for row in rows]
    assert head.legacy == family.startswith("yolov8")
    assert network.stride.tolist() == [8, 16, 32]


@pytest.mark.parametrize("family", ["yolov8n", "yolo11n"])
def test_with_the_weights_of_a_detector_they_start_as_that_detector(
    family: str, stock_checkpoint: Callable[[str], Path]
) -> None:
    stock = ultralytics.YOLO(stock_checkpoint(family))
    model = YOLO(f"{family}-multiscale-attention").load(stock_checkpoint(family))
    x = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        ours, theirs = (m.model.float().eval()(x)[0] for m in (model, stock))
    assert torch.equal(ours, theirs)


def test_a_row_is_the_attention_and_its_options_matter() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 64, 5, 7)
    row = MultiscaleAttention(64, 64)
    expected = row.attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(row(x), expected)
    assert MultiscaleAttention(64, 64, num_groups=8).attention.num_groups == 8
    gated = MultiscaleAttention(64, 64, gate="zero")
    assert torch.equal(gated(x), x)
    torch.nn.init.ones_(gated.gate)
    open_ = gated.attention(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(gated(x), open_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((64, 32), "keeps its width, but the row asks for 32 channels and gets 64"),
        ((64, 64, 2), "MultiscaleAttention cannot repeat, but its row asks for 2"),
        ((48, 48), r"width=48 does not split into num_groups=32 groups; num_groups may be 1, 2, 3"),
        ((64, 64, 1, 32, "open"), "gate='open' is unknown"),
    ],
)
def test_rows_that_make_no_sense_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiscaleAttention(*arguments)


def test_plug_inserts_it(stock_checkpoint: Callable[[str], Path], private_folder: Path) -> None:
    plugged = plug(stock_checkpoint("yolo11n"), block="multiscale_attention")
    blocks = [m for m in plugged.model.modules() if isinstance(m, EfficientMultiscaleAttention)]
    assert [block.num_groups for block in blocks] == [32, 32, 32]
    stock = ultralytics.YOLO(stock_checkpoint("yolo11n")).model.float().eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(plugged.model.float().eval()(x)[0], stock(x)[0])
    plugged.save(private_folder / "plugged.pt")
    assert type(YOLO("plugged.pt").model.model[-2].block) is MultiscaleAttention


def test_plug_names_the_groups_of_a_width_that_does_not_fit() -> None:
    # row 1 of yolov8m has 96 channels, row 0 has 48
    assert (
        plug("yolov8m.yaml", block="multiscale_attention", at=1).model.model[2].gate.numel() == 96
    )
    with pytest.raises(ValueError, match="width=48 does not split into num_groups=32"):
        plug("yolov8m.yaml", block="multiscale_attention", at=0)


@pytest.mark.slow
def test_one_epoch_then_stock_ultralytics_in_a_fresh_process(
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
    image: Path,
    fresh_python: Callable[..., str],
) -> None:
    model = YOLO("yolo11n-multiscale-attention")
    model.train(data=str(dataset("detect")), **train_arguments())
    with (private_folder / "run" / "results.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    assert all(math.isfinite(float(v)) for k, v in epoch.items() if "loss" in k)
    gates = [row.gate for row in model.model.model if isinstance(row, MultiscaleAttention)]
    assert all(gate.abs().sum() > 0 for gate in gates)
    output = fresh_python(
        "import sys\n"
        "from ultralytics import YOLO\n"
        "assert 'mlla' not in sys.modules\n"
        "model = YOLO(sys.argv[1])\n"
        "print('row', model.model.model[-2].type, len(model.predict(sys.argv[2], imgsz=64)))\n",
        private_folder / "run" / "weights" / "best.pt",
        image,
    )
    assert "row mlla.yolo.multiscale_attention_rows.MultiscaleAttention 1" in output


@pytest.mark.slow
@pytest.mark.parametrize("family", ["yolov8n", "yolo11n"])
def test_onnx_agrees_at_any_size(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # releases of before PyTorch 2.9 rely on its old exporter and misread its newest opset
    of_its_time: dict[str, object] = {}
    if VERSION < (8, 4, 0):
        monkeypatch.setattr(torch.onnx, "export", partial(torch.onnx.export, dynamo=False))
        of_its_time = {"opset": 17}
    torch.manual_seed(0)
    model = YOLO(f"{family}-multiscale-attention")
    for row in model.model.model:
        if isinstance(row, MultiscaleAttention):
            torch.nn.init.ones_(row.gate)
    file = model.export(format="onnx", device="cpu", imgsz=64, dynamic=True, **of_its_time)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in [(1, 3, 64, 64), (2, 3, 96, 160), (1, 3, 32, 224)]:
        x = torch.rand(shape)
        (output,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            expected = model.model.float().eval()(x)[0].numpy()
        assert np.abs(output - expected).max() <= 1e-4 * np.abs(expected).max()
