"""Detectors in every format, exported by Ultralytics and compared with PyTorch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from torch import nn

import mlla.yolo.exporting
from mlla.export import TOLERANCE, WrongExportError, check_export, export
from mlla.export.runners import open_file
from mlla.yolo import YOLO

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
NAMES = (
    "yolov8n-c2f-mlla",
    "yolo11n-c3k2-mlla",
    "yolo26n-c3k2-mlla",
    "rtdetr-l-mlla-aifi",
    "mamba-yolo-t",
    "yolo11n-c3k2-vss",
    "yolov8n-c2f-mlla-cls",
    "yolov8n-mlla-seg",
)


@pytest.fixture
def detector() -> YOLO:
    torch.manual_seed(0)
    return YOLO("yolov8n-mlla")


def test_a_detector_with_open_sizes(detector: YOLO, folder: Path) -> None:
    report = export(detector, imgsz=64, dynamic=True)
    assert report.error <= TOLERANCE
    assert len({difference.shape for difference in report.differences}) == 3
    assert [path.name for path in folder.iterdir()] == ["yolov8n-mlla.onnx"]
    assert isinstance(detector.model, nn.Module)
    assert not hasattr(detector.model, "pt_path")


def test_a_detector_that_lost_a_bias_is_caught(
    detector: YOLO, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ultralytics.YOLO.export

    def drops_a_bias(self: YOLO, **arguments: object) -> str:
        last = self.model.model[-1].cv3[0][-1]
        kept = last.bias.detach().clone()
        nn.init.zeros_(last.bias)
        try:
            return host(self, **arguments)
        finally:
            last.bias.data.copy_(kept)

    monkeypatch.setattr(YOLO, "export", drops_a_bias)
    with pytest.raises(WrongExportError, match="in scores on 1 x 64 x 64 px"):
        export(detector, "torchscript", imgsz=64)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"format": "onxx"}, "did you mean onnx"),
        ({"imgsz": 100}, "multiples of 32"),
        ({"format": "torchscript", "half": True}, "on a GPU only"),
        ({"format": "torch_export", "dynamic": True}, "fixed size"),
        ({"format": "ncnn", "dynamic": True}, "fixed size"),
        ({"task": "segment"}, "for 'detect'"),
        ({"format": "torchscript", "int8": True, "data": "."}, "int8=True goes with"),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: dict[str, object], message: str, detector: YOLO
) -> None:
    with pytest.raises(ValueError, match=message):
        export(detector, **arguments)


def test_images_without_labels_are_refused(
    detector: YOLO, detection_set: Callable[..., Path]
) -> None:
    data = detection_set(with_labels=False)
    with pytest.raises(ValueError, match="none of its 3 validation images has a labelled box"):
        export(detector, imgsz=64, data=data)
    with pytest.raises(ValueError, match="scored on square images, not 64 x 96"):
        export(detector, imgsz=[64, 96], data=data)


def test_a_format_that_is_not_run_here_says_so(
    detector: YOLO, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def writes(_detector: YOLO, draft: Path, _arguments: object) -> Path:
        file = draft.with_suffix(".engine")
        file.write_bytes(b"as if")
        return file

    monkeypatch.setattr("mlla.export.detector_subject.write_with_ultralytics", writes)
    report = export(detector, "engine", imgsz=64)
    assert report.file.read_bytes() == b"as if"
    assert "exported, not run here: nothing was checked" in str(report)
    assert not report.differences
    assert np.isnan(report.error)


def test_a_folder_that_was_exported_opens_as_a_model(folder: Path) -> None:
    (folder / "best_openvino_model").mkdir()
    assert YOLO("best_openvino_model", task="detect").task == "detect"


def test_what_ultralytics_raises_is_told(detector: YOLO, folder: Path) -> None:
    with pytest.raises(RuntimeError, match="could not export to format=onnx"):
        export(detector, imgsz=64, opset=3)
    assert not list(folder.iterdir())


# -- all of it ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["onnx", "openvino", "torchscript"])
def test_every_kind_of_model(name: str, form: str) -> None:
    if form == "openvino":
        pytest.importorskip("openvino")
    torch.manual_seed(0)
    assert export(name, form, imgsz=64, dynamic=form != "torchscript").error <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo26n-c3k2-mlla", "yolo26n-mlla"])
def test_boxes_that_are_ranked_in_the_file(name: str) -> None:
    torch.manual_seed(0)
    # the file holds how many boxes are ranked, 300, and every size needs as many positions
    report = export(name, imgsz=320, dynamic=True, nms=False)
    assert report.error <= TOLERANCE
    (output,) = open_file(report.file, "onnx")(np.zeros((1, 3, 352, 352), np.float32))
    assert output.shape[2] == 6


@pytest.mark.slow
def test_a_detector_in_torch_export(detector: YOLO) -> None:
    report = export(detector, "torch_export", imgsz=64)
    assert report.error <= TOLERANCE
    assert check_export(detector, report.file, imgsz=64).error == report.error


@pytest.mark.slow
@pytest.mark.parametrize(("name", "batch"), [("yolov8n-mlla", 2), ("yolov8n-mlla-seg", 1)])
def test_a_file_that_ultralytics_does_not_open_is_scored(
    name: str, batch: int, detection_set: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = detection_set()
    for file in data.parent.glob("labels/*/*.txt"):
        # boxes, written as outlines
        file.write_text("0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n")
    counts = []
    run_tensors = mlla.yolo.exporting._run_tensors

    def counted(run: Callable[..., object], size: int, images: torch.Tensor, **_: object) -> object:
        counts.append(len(images))
        return run_tensors(run, size, images)

    monkeypatch.setattr(mlla.yolo.exporting, "_run_tensors", counted)
    # three images in batches of two
    report = export(name, "torch_export", imgsz=64, batch=batch, data=data)
    assert report.scores.difference == pytest.approx(0, abs=1e-6)
    assert set(counts) == {1, batch}


@pytest.mark.slow
def test_boxes_that_are_selected_in_the_file(detector: YOLO) -> None:
    report = export(detector, imgsz=64, nms=True)
    assert report.error <= TOLERANCE
    assert "nms=True" in str(report)
    (output,) = open_file(report.file, "onnx")(np.zeros((1, 3, 64, 64), np.float32))
    assert output.shape[2] == 6


def answer_to_the_image(file: Path) -> None:
    """Enlarge the last weights: scores of a young network are their biases, in any precision."""
    checkpoint = torch.load(file, weights_only=False)
    for branch in checkpoint["model"].model[-1].cv3:
        branch[-1].weight.data *= 30
    torch.save(checkpoint, file)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_eight_bits_are_calibrated_and_scored(
    form: str, detection_set: Callable[..., Path]
) -> None:
    if form == "openvino":
        pytest.importorskip("nncf")
    detector = YOLO("yolov8n-mlla")
    detector.train(
        data=str(detection_set()), imgsz=64, epochs=1, batch=3, workers=0, device="cpu",
        amp=False, plots=False, project=str(Path("runs").resolve()), name="t", verbose=False,
    )  # fmt: skip
    best = Path("runs/t/weights/best.pt")
    answer_to_the_image(best)
    report = export(best, form, imgsz=64, int8=True, data=detection_set())
    assert report.error <= TOLERANCE < report.variant_error
    assert report.scores.measure == "AP50-95"
    assert report.file.parent == best.parent
    assert "int8" in report.file.name
    if form == "openvino":
        assert '"FakeQuantize"' in next(report.file.glob("*.xml")).read_text()
    exact = export(best, form, imgsz=64, data=detection_set())
    assert exact.scores.difference == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
def test_half_precision(detector: YOLO) -> None:
    report = export(detector, imgsz=64, half=True)
    assert report.error <= TOLERANCE
    assert report.precision == "float16"
    assert report.variant_error < 0.1


def test_what_differs_between_releases_of_ultralytics(monkeypatch: pytest.MonkeyPatch) -> None:
    precision = mlla.yolo.exporting.precision_arguments
    monkeypatch.setattr(mlla.yolo.exporting, "DEFAULT_CFG_DICT", {"quantize": None})
    assert precision(int8=True, half=False) == {"quantize": 8}
    assert precision(int8=False, half=True) == {"quantize": 16}
    assert precision(int8=False, half=False) == {"quantize": None}
    monkeypatch.setattr(mlla.yolo.exporting, "DEFAULT_CFG_DICT", {})
    assert precision(int8=True, half=False) == {"int8": True, "half": False}
