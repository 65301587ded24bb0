"""RT-DETR with MLLA trains, validates on squares, resumes, predicts and exports."""

import csv
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnxruntime
import pytest
import torch
import ultralytics
from small_rtdetr import outputs, small_checkpoint, small_file
from torch import Tensor, nn

from mlla.cli import main
from mlla.data import DataError
from mlla.yolo import RTDETR, YOLO, plug
from mlla.yolo.rows import Inserted, MLLABlocks
from mlla.yolo.trainers import RTDETRTrainer

Arguments = Callable[..., dict[str, object]]
Dataset = Callable[[str], Path]
NAMES = ["rtdetr-l-mlla", "rtdetr-l-mlla-aifi", "rtdetr-resnet50-mlla"]
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])


def losses_of(run: Path) -> list[list[float]]:
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [[float(value) for key, value in row.items() if "loss" in key] for row in rows]


@contextmanager
def recorded_sizes() -> Iterator[set[tuple[bool, int, int]]]:
    """Collect mode, height and width of what reaches the row in place of AIFI, at stride 32."""
    sizes: set[tuple[bool, int, int]] = set()
    forward = MLLABlocks.forward

    def recording(self: MLLABlocks, x: Tensor) -> Tensor:
        # Ultralytics counts operations on single images
        if len(x) > 1:
            sizes.add((self.training, *x.shape[2:]))
        return forward(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MLLABlocks, "forward", recording)
        yield sizes


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> Path:
    """Return the run folder of a small rtdetr-l-mlla-aifi after one epoch."""
    folder = tmp_path_factory.mktemp("trained-rtdetr")
    model = YOLO(small_file(folder, "rtdetr-l-mlla-aifi"))
    with recorded_sizes() as sizes:
        model.train(
            data=str(dataset("detect")),
            **_arguments(folder),
            # would be rectangular for a YOLO
            rect=True,
        )
    # images of six shapes, stretched to 64x64 by training and validation alike
    assert sizes == {(True, 2, 2), (False, 2, 2)}
    return folder / "run"


def _arguments(folder: Path, **changes: object) -> dict[str, object]:
    return {
        "imgsz": 64,
        "epochs": 1,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "amp": False,
        "plots": False,
        "optimizer": "AdamW",
        "lr0": 0.001,
        "nbs": 2,
        "warmup_epochs": 0,
        # grid_sample has no deterministic backward
        "deterministic": False,
        "project": str(folder),
        "name": "run",
        "exist_ok": True,
        "verbose": False,
        **changes,
    }


def test_one_epoch_trains_and_validates_on_squares(trained: Path) -> None:
    (losses,) = losses_of(trained)
    assert losses
    assert all(math.isfinite(value) for value in losses)
    assert {file.name for file in (trained / "weights").iterdir()} == {"best.pt", "last.pt"}


@pytest.mark.parametrize(
    "name", ["rtdetr-l-mlla", pytest.param("rtdetr-resnet50-mlla", marks=pytest.mark.slow)]
)
def test_one_epoch_from_stock_weights_opens_the_gates(
    name: str, dataset: Dataset, private_folder: Path
) -> None:
    stock = small_checkpoint(private_folder, name.removesuffix("-mlla"))
    model = RTDETR(small_file(private_folder, name))
    gates: list[tuple[bool, bool]] = []

    def note(trainer: object) -> None:
        found = [p for n, p in trainer.model.named_parameters() if n.endswith("gate")]
        gates.append((bool(found), all(bool((gate != 0).any()) for gate in found)))

    model.add_callback("on_train_start", note)
    model.add_callback("on_train_end", note)
    model.train(data=str(dataset("detect")), pretrained=stock, **_arguments(private_folder))
    assert gates == [(True, False), (True, True)]
    assert type(model.trainer) is RTDETRTrainer
    assert all(math.isfinite(value) for value in losses_of(private_folder / "run")[0])


def test_validation_predicts_and_takes_wrong_arguments_apart(
    trained: Path, dataset: Dataset, image: Path, private_folder: Path
) -> None:
    model = RTDETR(trained / "weights" / "best.pt")
    with recorded_sizes() as sizes:
        metrics = model.val(
            data=str(dataset("detect")), imgsz=96, plots=False, project=str(private_folder)
        )
        (found,) = model(image, imgsz=96, conf=0.0, verbose=False)
    assert sizes == {(False, 3, 3)}
    assert 0 <= metrics.box.map50 <= 1
    assert found.names == {0: "a", 1: "b"}
    assert len(found.boxes) > 0
    with pytest.raises(ValueError, match="imgsz=0 must be positive"):
        model.val(data=str(dataset("detect")), imgsz=0)
    with pytest.raises(DataError, match=r"nowhere\.yaml does not exist"):
        model.train(data="nowhere.yaml")


@pytest.mark.slow
def test_stock_ultralytics_predicts_what_we_do(
    trained: Path, image: Path, fresh_python: Callable[..., str]
) -> None:
    best = trained / "weights" / "best.pt"
    (ours,) = YOLO(best)(image, imgsz=64, conf=0.0, verbose=False)
    output = fresh_python(
        "import sys\n"
        "from ultralytics import RTDETR\n"
        "found = RTDETR(sys.argv[1])(sys.argv[2], imgsz=64, conf=0.0, verbose=False)[0]\n"
        "print('confidence', *found.boxes.conf.tolist())\n",
        best,
        image,
    )
    line = next(line for line in output.splitlines() if line.startswith("confidence"))
    assert [float(number) for number in line.split()[1:]] == ours.boxes.conf.tolist()


def test_an_interrupted_plugged_training_resumes(dataset: Dataset, private_folder: Path) -> None:
    model = plug(small_checkpoint(private_folder, "rtdetr-l"), at="neck")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(dataset("detect")), **_arguments(private_folder, epochs=2))
    last = private_folder / "run" / "weights" / "last.pt"
    resumed = YOLO(last)
    resumed.train(resume=True)
    assert type(resumed) is RTDETR
    assert len(losses_of(private_folder / "run")) == 2
    rows = resumed.model.model
    inserted = [number for number, row in enumerate(rows) if isinstance(row, Inserted)]
    assert inserted == [28, 29, 30]
    assert all((rows[number].gate != 0).any() for number in inserted)
    with pytest.raises(ValueError, match="is no interrupted training"):
        YOLO(last).train(resume=True)


def test_the_command_trains_plugs_and_validates(
    dataset: Dataset, private_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_file(private_folder, "rtdetr-l-mlla")
    words = [f"{key}={value}" for key, value in _arguments(private_folder).items()]
    data = f"data={dataset('detect')}"
    assert main(["train", "model=rtdetr-l-mlla.yaml", data, *words]) == 0
    last = private_folder / "run" / "weights" / "last.pt"
    assert main(["plug", f"model={last}", "at=11", "out=plugged.pt"]) == 0
    plugged = RTDETR("plugged.pt")
    assert isinstance(plugged.model.model[12], Inserted)
    assert main(["val", "model=plugged.pt", data, "imgsz=64", "workers=0", "plots=False"]) == 0
    capsys.readouterr()
    assert main(["train", "model=rtdetr-l-mlla.yaml", data, "task=segment", *words]) != 0
    assert "only detects boxes" in capsys.readouterr().err


# -- export ------------------------------------------------------------------------------------

# boxes and scores are at most 1
TOLERANCE = 1e-5
# releases of before PyTorch 2.9 rely on its old exporter and misread its newest opset
OF_ITS_TIME = {"opset": 17} if VERSION < (8, 4, 0) else {}


def export(model: RTDETR, monkeypatch: pytest.MonkeyPatch, **arguments: object) -> Path:
    if OF_ITS_TIME:
        monkeypatch.setattr(torch.onnx, "export", partial(torch.onnx.export, dynamo=False))
    return Path(model.export(format="onnx", device="cpu", **OF_ITS_TIME, **arguments))


def error_at(file: Path, model: RTDETR, shape: tuple[int, ...]) -> float:
    """Return the largest distance of a detection from the nearest one of the other side."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
    expected = outputs(model, x)[0]
    assert found.shape == expected.shape
    # detections of equal score come in any order
    distance = (found[:, :, None] - expected[:, None]).abs().amax(-1)
    return max(distance.amin(1).max().item(), distance.amin(2).max().item())


def opened(file: Path) -> RTDETR:
    """Build a model whose blocks act and whose queries differ in score."""
    torch.manual_seed(0)
    model = RTDETR(file)
    for name, parameter in model.model.named_parameters():
        if name.endswith("gate") or "score_head" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_onnx_agrees(name: str, private_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(small_file(private_folder, name))
    assert error_at(export(model, monkeypatch, imgsz=(64, 96)), model, (1, 3, 64, 96)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.skipif(VERSION < (8, 4, 0), reason="its decoder fixes the size when it is exported")
@pytest.mark.parametrize("name", NAMES)
def test_dynamic_onnx_agrees_at_every_size(
    name: str, private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(small_file(private_folder, name))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = export(model, monkeypatch, imgsz=64, dynamic=True)
    for shape in ((1, 3, 64, 64), (2, 3, 96, 160)):
        assert error_at(file, model, shape) < TOLERANCE
    # a tracer warning says that a size became a constant
    frozen = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
    assert not [str(w) for w in frozen if "mlla" in Path(w.filename).parts]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_onnx_agrees_at_full_size(
    name: str, private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened(Path(f"{name}.yaml"))
    assert error_at(export(model, monkeypatch, imgsz=256), model, (1, 3, 256, 256)) < TOLERANCE
