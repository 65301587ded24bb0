"""Every architecture trains, validates in rectangles and is found again by stock Ultralytics."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from mlla.yolo import YOLO, model_names, plug
from mlla.yolo.names import packaged
from mlla.yolo.register import registered_rows

# RT-DETR trains in test_rtdetr_training.py, on smaller networks
DETECTORS = [n for n in model_names() if not packaged(n).suffix and not n.startswith("rtdetr")]
FAST = ("yolo11n-c3k2-mlla", "yolo12n-mlla", "yolo26n-c2psa-mlla")
OTHER_TASKS = (
    *("yolo11n-c3k2-mlla-seg", "yolo11n-mlla-pose", "yolo11n-c2psa-mlla-obb"),
    *("yolo11n-mlla-tiny-cls", "yolo12n-mlla-seg", "yolo12n-mlla-pose", "yolo12n-mlla-obb"),
    *("yolo26n-mlla-seg", "yolo26n-c3k2-mlla-pose", "yolo26n-c2psa-mlla-obb"),
    "yolo26n-c3k2-mlla-cls",
)
PLUGGED = ("yolo11n", "yolo11n-seg", "yolo12n", "yolo12n-cls", "yolo26n", "yolo26n-pose")


def smallest() -> list[str]:
    """Return every architecture's detector at its first scale."""
    first: dict[str, str] = {}
    for name in DETECTORS:
        first.setdefault(packaged(name).file.stem, name)
    return list(first.values())


def slow_unless_fast(names: list[str]) -> list[object]:
    return [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in names]


def first_tensor(output: object) -> Tensor:
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def train(
    model: YOLO, dataset: Callable[[str], Path], arguments: dict[str, object], folder: Path
) -> Path:
    """Train one epoch, validate what came out in rectangles and return its file."""
    data = str(dataset(model.task))
    model.train(data=data, **arguments)
    with (folder / "run" / "results.csv").open() as file:
        (epoch,) = csv.DictReader(file)
    losses = [float(value) for key, value in epoch.items() if "loss" in key]
    assert losses
    assert all(math.isfinite(loss) for loss in losses)
    best = folder / "run" / "weights" / "best.pt"
    shapes: set[tuple[int, ...]] = set()

    def note(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if isinstance(module, tuple(registered_rows().values())):
            shapes.add(inputs[0].shape[2:])

    hook = register_module_forward_pre_hook(note)
    results = YOLO(best).val(data=data, imgsz=64, batch=1, plots=False, project=str(folder))
    hook.remove()
    assert all(math.isfinite(value) for value in results.results_dict.values())
    if model.task != "classify":
        assert any(height < width for height, width in shapes)
        assert any(height > width for height, width in shapes)
    return best


OPEN_WITHOUT_US = """
import sys, numpy, torch, ultralytics
assert not any(name.startswith("mlla") for name in sys.modules)
network = ultralytics.YOLO(sys.argv[1]).model.float().eval()
with torch.no_grad():
    output = network(torch.from_numpy(numpy.load(sys.argv[2])))
while not isinstance(output, torch.Tensor):
    output = output[0]
expected = torch.from_numpy(numpy.load(sys.argv[3]))
assert torch.equal(output, expected), (output - expected).abs().max()
"""


def assert_stock_ultralytics_computes_the_same(
    file: Path, folder: Path, fresh_python: Callable[..., str]
) -> None:
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = first_tensor(YOLO(file).model.float().eval()(x))
    np.save(folder / "x.npy", x.numpy())
    np.save(folder / "expected.npy", expected.numpy())
    fresh_python(OPEN_WITHOUT_US, file, folder / "x.npy", folder / "expected.npy")


@pytest.mark.parametrize(
    "name",
    slow_unless_fast([*smallest(), *(name for name in OTHER_TASKS if name in model_names())]),
)
def test_it_trains_validates_and_is_found_again(
    name: str,
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
    fresh_python: Callable[..., str],
) -> None:
    best = train(YOLO(name), dataset, train_arguments(), private_folder)
    assert_stock_ultralytics_computes_the_same(best, private_folder, fresh_python)


@pytest.mark.slow
@pytest.mark.parametrize("name", PLUGGED)
def test_a_plugged_model_does_so_too(
    name: str,
    stock_checkpoint: Callable[[str], Path],
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
    fresh_python: Callable[..., str],
) -> None:
    if not any(known.startswith(name[:6]) for known in model_names()):
        pytest.skip("needs a newer Ultralytics")
    plugged = plug(stock_checkpoint(name), at="p5")
    best = train(plugged, dataset, train_arguments(), private_folder)
    (gate,) = (p for n, p in YOLO(best).model.named_parameters() if n.endswith(".gate"))
    assert (gate != 0).any()
    assert_stock_ultralytics_computes_the_same(best, private_folder, fresh_python)
