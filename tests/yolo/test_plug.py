"""plug: every tensor kept, the function unchanged until it is trained, and like any model after."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
import yaml
from torch import Tensor, nn
from ultralytics.utils import LOGGER

from mlla.yolo import YOLO, plug
from mlla.yolo.rows import Inserted

StockCheckpoint = Callable[[str], Path]
X = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def outputs(model: ultralytics.YOLO, x: Tensor = X) -> list[Tensor]:
    """Return every tensor that the network returns, in evaluation mode and float32."""

    def flatten(output: object) -> list[Tensor]:
        if isinstance(output, Tensor):
            return [output]
        children = output.values() if isinstance(output, dict) else output
        return [tensor for child in children for tensor in flatten(child)]

    with torch.no_grad():
        return flatten(model.model.float().eval()(x))


def assert_same_outputs(a: list[Tensor], b: list[Tensor]) -> None:
    assert len(a) == len(b) > 0
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def inserted_rows(model: YOLO) -> list[int]:
    return [i for i, row in enumerate(model.model.model) if isinstance(row, Inserted)]


# -- what is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "new_rows"),
    [
        ("neck", [22, 23, 24]),
        ("p5", [10]),
        (4, [5]),
        ([4, 6, 9], [5, 8, 12]),
        ("4, 6,9", [5, 8, 12]),
        ((21,), [22]),
    ],
)
def test_outputs_are_bit_identical_with_the_zero_gate(
    stock_checkpoint: StockCheckpoint, at: str | int | Sequence[int], new_rows: list[int]
) -> None:
    original = ultralytics.YOLO(stock_checkpoint("yolov8n"))
    plugged = plug(stock_checkpoint("yolov8n"), at=at)
    assert inserted_rows(plugged) == new_rows
    assert_same_outputs(outputs(plugged), outputs(original))


def test_all_355_tensors_are_kept_and_counted(
    stock_checkpoint: StockCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "info", lambda text, *_: lines.append(text))
    plugged = plug(stock_checkpoint("yolov8n"))
    assert lines[-1] == "plug: kept 355 of 355 tensors, mlla after rows [15, 18, 21]"
    state = plugged.model.state_dict()
    for name, tensor in ultralytics.YOLO(stock_checkpoint("yolov8n")).model.state_dict().items():
        ours = name.replace("model.22.", "model.25.")
        assert torch.equal(state.pop(ours), tensor.float())
    assert all(name.split(".")[1] in ("22", "23", "24") for name in state)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("yolov8n-seg", "neck"),
        ("yolov8n-pose", "p5"),
        ("yolov8n-obb", "neck"),
        ("yolov8n-cls", "p5"),
        ("yolo11n", "neck"),
        ("yolo11n", "p5"),
    ],
)
def test_other_tasks_and_families_are_kept_too(
    stock_checkpoint: StockCheckpoint, name: str, at: str
) -> None:
    original = ultralytics.YOLO(stock_checkpoint(name))
    plugged = plug(stock_checkpoint(name), at=at)
    assert plugged.task == original.task
    assert type(plugged.model) is type(original.model)
    assert type(plugged.model.model[-1]) is type(original.model.model[-1])
    assert_same_outputs(outputs(plugged), outputs(original))


def test_from_a_yaml_weights_are_those_of_the_model_it_builds(private_folder: Path) -> None:
    plugged = plug("yolov8n.yaml", at="p5")
    assert plugged.task == "detect"
    assert inserted_rows(plugged) == [10]
    assert len(outputs(plugged)) > 0


@pytest.mark.parametrize("wrapper", [ultralytics.YOLO, YOLO])
def test_a_loaded_model_is_left_as_it_was(
    stock_checkpoint: StockCheckpoint, wrapper: type[ultralytics.YOLO]
) -> None:
    original = wrapper(stock_checkpoint("yolov8n"))
    original.model.train()
    original.model.model[3].eval()
    attributes = {key: copy.copy(value) for key, value in vars(original).items()}
    config = copy.deepcopy(original.model.yaml)
    state = {name: tensor.clone() for name, tensor in original.model.state_dict().items()}
    modes = [module.training for module in original.model.modules()]
    plugged = plug(original, at=[4, 9])
    assert vars(original).keys() == attributes.keys()
    assert original.overrides == attributes["overrides"]
    assert original.model.yaml == config
    assert all(torch.equal(t, state[n]) for n, t in original.model.state_dict().items())
    assert [module.training for module in original.model.modules()] == modes
    assert not any(module._forward_hooks for module in original.model.modules())
    # and shares nothing with the new one
    with torch.no_grad():
        for parameter in plugged.model.parameters():
            parameter.zero_()
    plugged.overrides["imgsz"] = 7
    plugged.add_callback("on_train_start", print)
    assert all(torch.equal(t, state[n]) for n, t in original.model.state_dict().items())
    assert original.overrides == attributes["overrides"]
    assert print not in original.callbacks["on_train_start"]


def test_names_of_classes_are_kept(trained: Path) -> None:
    original = YOLO(trained / "weights" / "best.pt")
    plugged = plug(original, at="p5")
    assert plugged.names == original.names == {0: "a", 1: "b"}
    assert_same_outputs(outputs(plugged), outputs(original))


def test_a_packaged_model_and_a_plugged_one_can_be_plugged_again() -> None:
    twice = plug(plug("yolov8n-mlla", at="p5"), at=10)
    assert inserted_rows(twice) == [10, 11]


def test_nothing_is_drawn_from_the_random_numbers_of_the_output(
    stock_checkpoint: StockCheckpoint,
) -> None:
    # another initialisation of the block gives the same outputs behind a zero gate
    torch.manual_seed(1)
    a = plug(stock_checkpoint("yolov8n"))
    torch.manual_seed(2)
    b = plug(stock_checkpoint("yolov8n"))
    assert not torch.equal(*(next(m.model.model[22].block.parameters()) for m in (a, b)))
    assert_same_outputs(outputs(a), outputs(b))


def test_without_a_gate_the_block_acts_at_once(stock_checkpoint: StockCheckpoint) -> None:
    plugged = plug(stock_checkpoint("yolov8n"), gate="none")
    assert plugged.model.model[22].gate is None
    original = ultralytics.YOLO(stock_checkpoint("yolov8n"))
    assert not torch.equal(outputs(plugged)[0], outputs(original)[0])


def test_the_neck_placement_is_the_packaged_one(
    stock_checkpoint: StockCheckpoint,
) -> None:
    plugged = plug(stock_checkpoint("yolov8n"))
    for row in (22, 23, 24):
        nn.init.normal_(plugged.model.model[row].gate)
    packaged = YOLO("yolov8n-mlla")
    renamed = {
        n.replace(".block.blocks.", ".blocks."): t for n, t in plugged.model.state_dict().items()
    }
    packaged.model.load_state_dict(renamed, strict=True)
    assert_same_outputs(outputs(plugged), outputs(packaged))


# -- afterwards it is a model like any other ---------------------------------------------------


def test_stock_ultralytics_reloads_a_plugged_model(
    stock_checkpoint: StockCheckpoint, fresh_python: Callable[..., str], private_folder: Path
) -> None:
    for task in ("yolov8n", "yolov8n-seg"):
        plugged = plug(stock_checkpoint(task), at="p5")
        with torch.no_grad():
            plugged.model.model[10].gate.add_(0.5)
        plugged.save(private_folder / f"{task}.pt")
        # files hold fp16
        plugged.model.half()
        np.save(private_folder / f"{task}.npy", outputs(plugged)[0].numpy())
    fresh_python(
        "import numpy, torch\n"
        "from ultralytics import YOLO\n"
        "x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))\n"
        "for name, task in (('yolov8n', 'detect'), ('yolov8n-seg', 'segment')):\n"
        "    model = YOLO(name + '.pt')\n"
        "    assert model.task == task, model.task\n"
        "    with torch.no_grad():\n"
        "        output = model.model.float().eval()(x)[0]\n"
        "        if task == 'segment': output = output if torch.is_tensor(output) else output[0]\n"
        "    expected = torch.from_numpy(numpy.load(name + '.npy'))\n"
        "    assert torch.equal(output, expected), (output - expected).abs().max()\n"
    )


def test_training_opens_the_gate_and_keeps_the_rows(
    stock_checkpoint: StockCheckpoint,
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
) -> None:
    plugged = plug(stock_checkpoint("yolov8n"))
    before: dict[str, Tensor] = {}
    after: dict[str, Tensor] = {}

    def note(state: dict[str, Tensor]) -> Callable[[object], None]:
        return lambda trainer: state.update(copy.deepcopy(trainer.model.state_dict()))

    plugged.add_callback("on_train_start", note(before))
    plugged.add_callback("on_train_end", note(after))
    state = copy.deepcopy(plugged.model.state_dict())
    plugged.train(data=str(dataset("detect")), **train_arguments())
    # training starts from the kept weights; two classes against 80 change the class branch
    differ = {
        n for n, t in before.items() if t.shape != state[n].shape or not torch.equal(t, state[n])
    }
    assert all(name.startswith("model.25.cv3.") for name in differ)
    last = YOLO(private_folder / "run" / "weights" / "last.pt")
    assert inserted_rows(last) == [22, 23, 24]
    for row in (22, 23, 24):
        assert (before[f"model.{row}.gate"] == 0).all()
        assert (after[f"model.{row}.gate"] != 0).any()
    assert last.model.yaml["plug"] == {"block": "mlla", "rows": [15, 18, 21], "gate": "zero"}


def test_freezing_the_original_trains_the_inserted_rows_only(
    stock_checkpoint: StockCheckpoint,
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
) -> None:
    plugged = plug(stock_checkpoint("yolov8n"))
    changed: set[str] = set()
    start: dict[str, Tensor] = {}

    def at_start(trainer: object) -> None:
        start.update({n: p.detach().clone() for n, p in trainer.model.named_parameters()})

    def at_end(trainer: object) -> None:
        changed.update(
            n for n, p in trainer.model.named_parameters() if not torch.equal(p, start[n])
        )

    plugged.add_callback("on_train_start", at_start)
    plugged.add_callback("on_train_end", at_end)
    plugged.train(data=str(dataset("detect")), **train_arguments(freeze=[*range(22), 25]))
    assert changed
    assert {name.split(".")[1] for name in changed} <= {"22", "23", "24"}


def test_a_plugged_model_resumes(
    stock_checkpoint: StockCheckpoint,
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
) -> None:
    plugged = plug(stock_checkpoint("yolov8n"), at="p5")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    plugged.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        plugged.train(data=str(dataset("detect")), **train_arguments(epochs=2))
    last = private_folder / "run" / "weights" / "last.pt"
    YOLO(last).train(resume=True)
    assert inserted_rows(YOLO(last)) == [10]


def test_several_devices_need_a_file_where_children_start_from_one(
    stock_checkpoint: StockCheckpoint,
    monkeypatch: pytest.MonkeyPatch,
    dataset: Callable[[str], Path],
) -> None:
    plugged = plug(stock_checkpoint("yolov8n"))
    monkeypatch.setattr(ultralytics, "__version__", "8.4.144")
    for device in ("0,1", [0, 1]):
        with pytest.raises(ValueError, match="would lose the inserted blocks"):
            plugged.train(data=str(dataset("detect")), device=device)


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"block": "cbam"}, "block='cbam' is unknown; choose from ['mlla', "),
        ({"gate": "one"}, "gate='one' is unknown; choose 'zero' or 'none'"),
        ({"at": "p4"}, "at='p4' is unknown; choose 'neck', 'p5' or row numbers like 4,6,9"),
        ({"at": ""}, "at='' is unknown"),
        ({"at": "4,x"}, "at='4,x' is unknown"),
        ({"at": 22}, "rows must be different numbers from 0 to 21, before the head"),
        ({"at": -1}, "rows must be different numbers from 0 to 21, before the head"),
        ({"at": [4, 4]}, "rows must be different numbers from 0 to 21, before the head"),
        ({"at": []}, "rows must be different numbers from 0 to 21, before the head"),
        ({"at": 0}, "works at 16 channels at this scale, which must be a multiple of 4 and of"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared below)
        plug("yolov8n.yaml", **arguments)
    assert message in str(error.value)


def test_a_classifier_has_no_neck() -> None:
    with pytest.raises(ValueError, match="has no neck; use at='p5' or row numbers"):
        plug("yolov8n-cls.yaml")


def test_a_row_with_several_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="does not return one feature map; choose a row that does"):
        plug("yolov8n-mlla-tiny.yaml", at=0)


def test_a_fused_model_is_refused(stock_checkpoint: StockCheckpoint) -> None:
    fused = YOLO(stock_checkpoint("yolov8n"))
    fused.fuse()
    with pytest.raises(ValueError, match="the model is fused for inference"):
        plug(fused)


def test_a_small_model_is_not_taken_for_a_fused_one(private_folder: Path) -> None:
    rows = [[-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]]
    config = {"nc": 2, "backbone": rows, "head": [[-1, 1, "Classify", ["nc"]]]}
    (private_folder / "own.yaml").write_text(yaml.safe_dump(config))
    assert inserted_rows(plug("own.yaml", at="p5")) == [2]


def test_an_exported_file_is_refused(private_folder: Path) -> None:
    (private_folder / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="is an exported file; plug needs"):
        plug("model.onnx")


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"model='nowhere\.pt' does not exist"):
        plug("nowhere.pt")


def test_a_checkpoint_whose_rows_have_other_weights_is_refused(
    stock_checkpoint: StockCheckpoint,
) -> None:
    other = YOLO(stock_checkpoint("yolov8n"))
    # as if a release of Ultralytics had built its C2f otherwise
    other.model.model[4].cv3 = nn.Conv2d(1, 1, 1)
    with pytest.raises(ValueError, match="built by another version of ultralytics") as error:
        plug(other)
    assert "model.4.cv3.weight" in str(error.value)
