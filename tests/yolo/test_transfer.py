"""Pretrained weights reach every row that two models share, whatever its number."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import ultralytics
from torch import Tensor

import mlla
from mlla.yolo import YOLO

# where the rows of yolov8n are found in yolov8n-mlla: three blocks stand before the head
IN_MLLA = {**{row: row for row in range(22)}, 22: 25}


def weights_in(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a stock checkpoint, by Ultralytics itself."""
    return ultralytics.YOLO(path).model.float().state_dict()


def renumbered(state: dict[str, Tensor], rows: dict[int, int]) -> dict[str, Tensor]:
    parts = {name: name.split(".", 2) for name in state}
    return {f"model.{rows[int(parts[n][1])]}.{parts[n][2]}": t for n, t in state.items()}


def equal_tensors(state: dict[str, Tensor], expected: dict[str, Tensor]) -> int:
    return sum(name in state and torch.equal(state[name], t) for name, t in expected.items())


def test_every_tensor_of_yolov8n_is_kept(stock_checkpoint: Callable[[str], Path]) -> None:
    path = stock_checkpoint("yolov8n")
    expected = renumbered(weights_in(path), IN_MLLA)
    assert len(expected) == 355
    model = YOLO("yolov8n-mlla")
    blocks = {n: t.clone() for n, t in model.model.state_dict().items() if n not in expected}
    assert model.load(path) is model
    state = model.model.state_dict()
    assert equal_tensors(state, expected) == 355
    # nothing else was touched
    assert equal_tensors(state, blocks) == len(blocks) == len(state) - 355


def test_with_its_weights_yolov8n_mlla_starts_as_yolov8n(
    stock_checkpoint: Callable[[str], Path],
) -> None:
    path = stock_checkpoint("yolov8n")
    stock, ours = ultralytics.YOLO(path).model, YOLO("yolov8n-mlla").load(path).model
    image = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        assert torch.equal(ours.eval()(image)[0], stock.eval()(image)[0])


def test_a_loaded_model_is_as_good_as_a_file(stock_checkpoint: Callable[[str], Path]) -> None:
    path = stock_checkpoint("yolov8n")
    source = ultralytics.YOLO(path).model
    expected = renumbered(weights_in(path), IN_MLLA)
    model = YOLO("yolov8n-mlla").load(source)
    assert equal_tensors(model.model.state_dict(), expected) == 355
    # the source keeps its own names
    assert equal_tensors(source.state_dict(), weights_in(path)) == 355


def test_c2f_mlla_keeps_all_but_the_inner_units(stock_checkpoint: Callable[[str], Path]) -> None:
    path = stock_checkpoint("yolov8n")
    stages = (6, 8, 12, 18, 21)
    expected = {
        name: tensor
        for name, tensor in weights_in(path).items()
        if not any(name.startswith(f"model.{row}.m.") for row in stages)
    }
    model = YOLO("yolov8n-c2f-mlla").load(path)
    # at scale n six Bottlenecks, each of two convolutions with a weight and a norm of five tensors
    assert 355 - len(expected) == 6 * 2 * 6
    assert equal_tensors(model.model.state_dict(), expected) == len(expected)


@pytest.mark.parametrize("task", ["seg", "pose", "obb"])
def test_other_tasks_keep_everything_too(
    stock_checkpoint: Callable[[str], Path], task: str
) -> None:
    path = stock_checkpoint(f"yolov8n-{task}")
    expected = renumbered(weights_in(path), IN_MLLA)
    model = YOLO(f"yolov8n-mlla-{task}").load(path)
    assert equal_tensors(model.model.state_dict(), expected) == len(expected)


def test_published_weights_go_into_the_backbone_of_mlla_t() -> None:
    detection = timm.create_model("mlla_tiny", features_only=True, stage_norm=True).model
    model = YOLO("yolov8n-mlla-tiny")
    mlla.load_published(model.model.model[0].backbone, detection.state_dict())
    ours, theirs = model.model.model[0].backbone.model.state_dict(), detection.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
    # the neck does not read stage 0, whose norm the model leaves out
    assert set(theirs) - set(ours) == {"stage_norms.0.weight", "stage_norms.0.bias"}


def test_a_classifier_keeps_all_but_the_inner_units(
    stock_checkpoint: Callable[[str], Path],
) -> None:
    path = stock_checkpoint("yolov8n-cls")
    expected = {
        name: tensor
        for name, tensor in weights_in(path).items()
        if not name.startswith(("model.6.m.", "model.8.m."))
    }
    state = YOLO("yolov8n-c2f-mlla-cls").load(path).model.state_dict()
    # 80 classes against 1000: the last layer does not fit
    fits = {name: t for name, t in expected.items() if not name.startswith("model.9.linear.")}
    assert len(fits) == len(expected) - 2
    assert equal_tensors(state, fits) == len(fits)


def test_the_same_model_loads_itself(trained: Path) -> None:
    source = YOLO(trained / "weights" / "best.pt")
    expected = source.model.float().state_dict()
    model = YOLO("yolov8n-mlla")
    fits = {n for n, t in model.model.state_dict().items() if t.shape == expected[n].shape}
    model.load(trained / "weights" / "best.pt")
    state = model.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in fits)
    # 2 classes against 80
    assert {name.split(".")[1] for name in set(expected) - fits} == {"25"}


@pytest.mark.parametrize("how", ["load", "pretrained"])
def test_training_starts_from_pretrained_weights(
    stock_checkpoint: Callable[[str], Path],
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    how: str,
) -> None:
    path = stock_checkpoint("yolov8n")
    expected = renumbered(weights_in(path), IN_MLLA)
    model = YOLO("yolov8n-mlla")
    before: dict[str, Tensor] = {}

    class BeforeTheFirstStepError(Exception):
        pass

    def look(trainer: object) -> None:
        before.update({n: t.clone() for n, t in trainer.model.state_dict().items()})
        raise BeforeTheFirstStepError

    model.add_callback("on_train_start", look)
    arguments = train_arguments()
    if how == "load":
        model.load(path)
    else:
        arguments["pretrained"] = str(path)
    with pytest.raises(BeforeTheFirstStepError):
        model.train(data=str(dataset("detect")), **arguments)
    # the data have 2 classes: only the last convolutions of the class branch differ in shape
    fits = {n: t for n, t in expected.items() if before[n].shape == t.shape}
    other = {name for name in expected if name not in fits}
    assert all(name.startswith("model.25.cv3.") for name in other)
    assert equal_tensors(before, fits) == len(fits)
    # three levels of two convolutions with norms and the last one: 14 tensors each
    assert len(fits) >= 355 - 3 * 14
