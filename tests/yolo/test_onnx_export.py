"""ONNX files compute what the network does, at the exported size and, if dynamic, at any."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import ultralytics
from torch import Tensor

from mlla.yolo import YOLO, model_names, plug
from mlla.yolo.rows import Inserted

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
TOLERANCE = 1e-4
SLOW = (
    "yolov8n-c2f-mlla",
    "yolov8n-mlla-backbone",
    "yolov8n-mlla-tiny",
    "yolov8n-mlla-seg",
    "yolov8n-c2f-mlla-pose",
    "yolov8n-mlla-backbone-obb",
    "yolov8n-c2f-mlla-cls",
    "yolo11n-c3k2-vss",
    "yolo11n-c2psa-vss",
    "yolo11n-mlla",
    "yolo11n-c3k2-mlla",
    "yolo11n-mlla-tiny",
    "yolo11n-c3k2-mlla-pose",
    "yolo12n-mlla",
    "yolo12n-mlla-seg",
    "yolo26n-mlla",
    "yolo26n-c2psa-mlla",
    "yolo26n-mlla-tiny",
    "yolo26n-mlla-seg",
    "yolo26n-c3k2-mlla-obb",
    "plugged",
    "plugged-yolo26n",
)
FAST = ("yolov8n-mlla", "yolo11n-c2psa-mlla", "yolo26n-c3k2-mlla")
# an older Ultralytics lacks the families that came after it
LACKING = () if "yolo26n-mlla" in model_names() else ("yolo12", "yolo26", "plugged-yolo26")
KNOWN = [name for name in (*FAST, *SLOW) if not name.startswith(LACKING)]
EVERY = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in KNOWN]


# releases of before PyTorch 2.9 rely on its old exporter and misread its newest opset
OF_ITS_TIME = {"opset": 17} if VERSION < (8, 4, 0) else {}


@pytest.fixture(autouse=True)
def exporter_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    if OF_ITS_TIME:
        monkeypatch.setattr(torch.onnx, "export", partial(torch.onnx.export, dynamo=False))


def export(model: YOLO, **arguments: object) -> Path:
    return Path(model.export(format="onnx", device="cpu", **OF_ITS_TIME, **arguments))


def model_called(name: str, stock_checkpoint: Callable[[str], Path]) -> YOLO:
    torch.manual_seed(0)
    if not name.startswith("plugged"):
        return YOLO(name)
    model = plug(stock_checkpoint(name.removeprefix("plugged").strip("-") or "yolov8n"), at="p5")
    (row,) = (row for row in model.model.model if isinstance(row, Inserted))
    torch.nn.init.ones_(row.gate)
    return model


def first_tensor(output: object) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def relative_error(file: Path, network: torch.nn.Module, shape: tuple[int, ...]) -> float:
    """Return the largest difference of the raw predictions, relative to the largest of them."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        expected = first_tensor(network.float().eval()(x)).numpy()
    assert output.shape == expected.shape
    return float(np.abs(output - expected).max() / np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", KNOWN)
def test_onnx_agrees_at_the_exported_size(
    name: str, stock_checkpoint: Callable[[str], Path]
) -> None:
    model = model_called(name, stock_checkpoint)
    file = export(model, imgsz=(64, 96))
    assert relative_error(file, model.model, (1, 3, 64, 96)) <= TOLERANCE
    # nothing but standard operators of real numbers
    domains = {operator.domain for operator in onnx.load(file).opset_import}
    assert domains <= {"", "ai.onnx"}


@pytest.mark.parametrize("name", EVERY)
def test_dynamic_onnx_agrees_at_every_size(
    name: str, stock_checkpoint: Callable[[str], Path]
) -> None:
    model = model_called(name, stock_checkpoint)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = export(model, imgsz=64, dynamic=True)
    for shape in ((1, 3, 64, 64), (2, 3, 96, 160), (1, 3, 32, 224)):
        assert relative_error(file, model.model, shape) <= TOLERANCE
    # a tracer warning says that a size became a constant
    frozen = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
    assert not [str(w) for w in frozen if "mlla" in Path(w.filename).parts]


@pytest.mark.slow
def test_exported_files_predict_through_the_same_class(image: Path) -> None:
    model = YOLO("yolov8n-c2f-mlla")
    file = export(model, imgsz=64)
    found, expected = (
        m(image, imgsz=64, conf=1e-6, verbose=False)[0] for m in (YOLO(file, task="detect"), model)
    )
    assert found.boxes.conf.max().item() == pytest.approx(expected.boxes.conf.max().item(), 1e-2)
