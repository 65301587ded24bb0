"""RT-DETR with MLLA: the classes, the packaged models, weights kept, and `plug`."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from small_rtdetr import outputs, small_checkpoint, small_config, small_file
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import ResNetLayer, RTDETRDecoder

from mlla.yolo import RTDETR, YOLO, model_config, model_names, plug
from mlla.yolo.rows import Inserted, MLLABlocks
from mlla.yolo.rtdetr_rows import ResNetLayerMLLA
from mlla.yolo.trainers import OurModels, RTDETRTrainer

NAMES = ["rtdetr-l-mlla", "rtdetr-l-mlla-aifi", "rtdetr-resnet50-mlla"]
STOCK = {
    "rtdetr-l-mlla": "rtdetr-l",
    "rtdetr-l-mlla-aifi": "rtdetr-l",
    "rtdetr-resnet50-mlla": "rtdetr-resnet50",
}
OURS = (MLLABlocks, ResNetLayerMLLA, Inserted)
X = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def assert_same_outputs(a: list[Tensor], b: list[Tensor]) -> None:
    assert len(a) == len(b) > 0
    assert all(x.isfinite().all() and torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a small stock checkpoint by name, saved once."""
    saved: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in saved:
            saved[name] = small_checkpoint(tmp_path_factory.mktemp("stock"), name)
        return saved[name]

    return get


@pytest.fixture(scope="module", params=NAMES)
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RTDETR:
    torch.manual_seed(0)
    return RTDETR(small_file(tmp_path_factory.mktemp("small"), request.param))


# -- the packaged models -----------------------------------------------------------------------


def test_the_names_of_rtdetr_have_one_scale_and_one_task() -> None:
    assert sorted(name for name in model_names() if name.startswith("rtdetr")) == sorted(NAMES)


def block_parameters(width: int, gates: int) -> int:
    """Count an MLLA block: 13 CxC matrices and 54 vectors of length C; and its gate."""
    return 13 * width**2 + (54 + gates) * width


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rtdetr-l-mlla", 32_970_476 + block_parameters(1024, gates=1)),
        # AIFI: four CxC matrices of attention, an MLP with 1024 inside, two norms
        (
            "rtdetr-l-mlla-aifi",
            32_970_476
            + block_parameters(256, gates=0)
            - (4 * 256**2 + 4 * 256 + 2 * 256 * 1024 + 1024 + 256 + 4 * 256),
        ),
        (
            "rtdetr-resnet50-mlla",
            42_925_132 + 6 * block_parameters(256, gates=1) + 3 * block_parameters(512, gates=1),
        ),
    ],
)
def test_packaged_models_are_stock_and_their_blocks(name: str, expected: int) -> None:
    with torch.device("meta"):
        rows, _ = tasks.parse_model(model_config(name), ch=3, verbose=False)
    assert type(rows[-1]) is RTDETRDecoder
    assert sum(parameter.numel() for parameter in rows.parameters()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_stock_keep_their_widths(name: str) -> None:
    def widths(config: dict[str, object]) -> list[tuple[str, int]]:
        rows, _ = tasks.parse_model({**config, "scale": "l"}, ch=3, verbose=False)
        outputs: list[Tensor] = []
        x = torch.zeros(1, 3, 64, 96)
        with torch.no_grad():
            for row in rows.eval()[:-1]:
                if isinstance(row.f, list):
                    x = torch.cat([x if i == -1 else outputs[i] for i in row.f], 1)
                else:
                    x = row(x if row.f == -1 else outputs[row.f])
                outputs.append(x)
        return [(type(row).__name__, o.shape[1]) for row, o in zip(rows, outputs, strict=False)]

    ours, stock = widths(small_config(name)), widths(small_config(STOCK[name]))
    replaced = {"MLLABlocks": "AIFI", "ResNetLayerMLLA": "ResNetLayer"}
    if name == "rtdetr-l-mlla":
        assert ours.pop(9) == ("MLLABlocks", 256)
    assert [(replaced.get(kind, kind), width) for kind, width in ours] == stock


def test_the_head_and_the_network_are_those_of_rtdetr(small: RTDETR) -> None:
    assert type(small.model) is tasks.RTDETRDetectionModel
    assert type(small.model.model[-1]) is RTDETRDecoder
    assert small.task == "detect"
    assert any(isinstance(row, OURS) for row in small.model.model)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (160, 96), (32, 224)])
def test_any_size_of_input_gives_finite_predictions(small: RTDETR, height: int, width: int) -> None:
    # 96x160 ends in an odd 3x5 map
    found = outputs(small, torch.rand(2, 3, height, width))
    assert all(tensor.isfinite().all() for tensor in found)
    assert found[0].shape[:2] == (2, 60)


def test_every_parameter_gets_a_gradient(small: RTDETR) -> None:
    network = copy.deepcopy(small.model).float().train()
    # as the trainer does, which knows the classes
    network.nc = 80
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        # opens the gates, and the last layers of the boxes' MLPs, which start at zero
        parameter.requires_grad_(True)
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    batch = {
        "img": torch.rand(2, 3, 64, 96, generator=generator),
        "cls": torch.tensor([[3.0], [5.0], [7.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.3, 0.4, 0.2, 0.1], [0.6, 0.5, 0.4, 0.4]]),
        "batch_idx": torch.tensor([0.0, 0.0, 1.0]),
    }
    loss, _ = network(batch)
    loss.backward()
    without = {n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    assert without == set()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_the_state_dict_survives_a_round_trip(small: RTDETR) -> None:
    other = RTDETR(small.cfg)
    other.model.load_state_dict(small.model.state_dict(), strict=True)
    assert_same_outputs(outputs(small, X), outputs(other, X))


def test_our_rows_keep_no_float_tables_and_no_caches(small: RTDETR) -> None:
    rows = [row for row in small.model.model if isinstance(row, OURS)]
    names = {name.rsplit(".", 1)[-1] for row in rows for name, _ in row.named_buffers()}
    assert names <= {"running_mean", "running_var", "num_batches_tracked"}
    modules = [module for row in rows for module in row.modules()]
    before = [set(vars(module)) for module in modules]
    outputs(small, torch.rand(1, 3, 96, 64))
    assert [set(vars(module)) for module in modules] == before


# -- the classes -------------------------------------------------------------------------------


def test_yolo_turns_into_our_rtdetr(
    checkpoint: Callable[[str], Path], private_folder: Path
) -> None:
    file = small_file(private_folder, "rtdetr-l-mlla")
    for given in (file, str(file), checkpoint("rtdetr-l")):
        model = YOLO(given)
        assert type(model) is RTDETR
        assert type(model.model) is tasks.RTDETRDetectionModel
        assert model.task_map["detect"]["trainer"] is RTDETRTrainer
    assert issubclass(RTDETRTrainer, OurModels)
    stock = ultralytics.RTDETR(checkpoint("rtdetr-l")).task_map["detect"]
    assert issubclass(RTDETRTrainer, stock["trainer"])


def test_packaged_names_build_from_any_folder() -> None:
    assert type(YOLO("rtdetr-l-mlla")) is RTDETR


def test_stock_yamls_with_the_decoder_are_recognised() -> None:
    # its name begins like that of a YOLO
    assert type(YOLO("yolov8n-rtdetr.yaml")) is RTDETR


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_another_task_than_detection_is_refused(
    task: str, checkpoint: Callable[[str], Path]
) -> None:
    for model in ("rtdetr-l-mlla", checkpoint("rtdetr-l")):
        with pytest.raises(ValueError, match=rf"task='{task}': RT-DETR, such as .* only detects"):
            YOLO(model, task=task)


@pytest.mark.parametrize("suffix", ["seg", "pose", "obb", "cls"])
def test_names_of_other_tasks_say_that_there_are_none(suffix: str) -> None:
    with pytest.raises(ValueError, match=f"rtdetr-l-mlla-{suffix}"):
        YOLO(f"rtdetr-l-mlla-{suffix}")


def test_a_yolo_is_refused(stock_checkpoint: Callable[[str], Path]) -> None:
    for model in ("yolov8n-mlla", "yolov8n.yaml", stock_checkpoint("yolov8n")):
        with pytest.raises(ValueError, match=r"is no RT-DETR.*open it with mlla\.yolo\.YOLO"):
            RTDETR(model)


def test_a_missing_checkpoint_is_named() -> None:
    for build in (YOLO, RTDETR):
        for name in ("rtdetr-l", "rtdetr-l.pt"):
            with pytest.raises(FileNotFoundError, match=rf"model='{name}' does not exist"):
                build(name)


# -- weights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_row_that_stayed_keeps_its_weights(
    name: str, checkpoint: Callable[[str], Path], private_folder: Path
) -> None:
    original = ultralytics.RTDETR(checkpoint(STOCK[name]))
    model = RTDETR(small_file(private_folder, name)).load(checkpoint(STOCK[name]))
    ours, stock = model.model.state_dict(), original.model.state_dict()
    inserted = 9 if name == "rtdetr-l-mlla" else None
    kept = 0
    for key, tensor in stock.items():
        prefix, row, rest = key.split(".", 2)
        number = int(row) + (inserted is not None and int(row) >= inserted)
        if f"{prefix}.{number}.{rest}" in ours:
            assert torch.equal(ours[f"{prefix}.{number}.{rest}"], tensor.float())
            kept += 1
    # the replaced encoder layer: attention (4 tensors), MLP (4) and two norms (4)
    assert kept == len(stock) - (12 if name == "rtdetr-l-mlla-aifi" else 0)
    if name != "rtdetr-l-mlla-aifi":
        assert_same_outputs(outputs(model, X), outputs(original, X))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tensors"),
    [("rtdetr-l-mlla", 941), ("rtdetr-l-mlla-aifi", 929), ("rtdetr-resnet50-mlla", 779)],
)
def test_tensors_kept_at_full_size(
    name: str, tensors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(tasks.LOGGER, "info", lambda text, *_: lines.append(text))
    model = RTDETR(name).load(ultralytics.RTDETR(f"{STOCK[name]}.yaml").model)
    total = len(model.model.state_dict())
    assert lines[-1] == f"Transferred {tensors}/{total} items from pretrained weights"


def test_a_yaml_has_no_weights_to_load(private_folder: Path) -> None:
    model = RTDETR(small_file(private_folder, "rtdetr-l-mlla"))
    with pytest.raises(ValueError, match=r"weights='rtdetr-l\.yaml' describes a model without"):
        model.load("rtdetr-l.yaml")


# -- plug --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "new_rows"),
    [("neck", [28, 29, 30]), ("p5", [10]), (11, [12]), ([7, 9, 11], [8, 11, 14])],
)
def test_plug_is_bit_identical_with_the_zero_gate(
    at: str | int | Sequence[int], new_rows: list[int], checkpoint: Callable[[str], Path]
) -> None:
    original = ultralytics.RTDETR(checkpoint("rtdetr-l"))
    plugged = plug(checkpoint("rtdetr-l"), at=at)
    assert type(plugged) is RTDETR
    assert [i for i, row in enumerate(plugged.model.model) if isinstance(row, Inserted)] == new_rows
    kept = [n for n in plugged.model.state_dict() if int(n.split(".")[1]) not in new_rows]
    assert len(kept) == len(original.model.state_dict())
    assert_same_outputs(outputs(plugged, X), outputs(original, X))


@pytest.mark.parametrize("name", ["rtdetr-resnet50", "rtdetr-l-mlla-aifi"])
def test_plug_takes_every_rtdetr(name: str, private_folder: Path) -> None:
    file = small_file(private_folder, name)
    for given in (file, YOLO(file), RTDETR(file), ultralytics.RTDETR(file)):
        plugged = plug(given)
        assert type(plugged) is RTDETR
        assert type(plugged.model) is tasks.RTDETRDetectionModel


def test_without_a_gate_the_block_acts_at_once(checkpoint: Callable[[str], Path]) -> None:
    plugged = plug(checkpoint("rtdetr-l"), gate="none")
    original = ultralytics.RTDETR(checkpoint("rtdetr-l"))
    assert not torch.equal(outputs(plugged, X)[0], outputs(original, X)[0])


def test_stock_ultralytics_reloads_plugged_and_packaged_models(
    checkpoint: Callable[[str], Path], fresh_python: Callable[..., str], private_folder: Path
) -> None:
    models = {
        "plugged": plug(checkpoint("rtdetr-l"), at="p5"),
        "packaged": RTDETR(small_file(private_folder, "rtdetr-resnet50-mlla")),
    }
    nn.init.normal_(models["plugged"].model.model[10].gate)
    for name, model in models.items():
        model.save(private_folder / f"{name}.pt")
        # files hold fp16
        model.model.half()
        np.save(private_folder / f"{name}.npy", outputs(model, X)[0].numpy())
    fresh_python(
        "import sys, numpy, torch\n"
        "from ultralytics import RTDETR\n"
        "assert 'mlla' not in sys.modules\n"
        "x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))\n"
        "for name in ('plugged', 'packaged'):\n"
        "    model = RTDETR(name + '.pt')\n"
        "    assert type(model) is RTDETR\n"
        "    with torch.no_grad():\n"
        "        output = model.model.float().eval()(x)[0]\n"
        "    expected = torch.from_numpy(numpy.load(name + '.npy'))\n"
        "    assert torch.equal(output, expected), (output - expected).abs().max()\n"
    )


# -- the ResNet stage --------------------------------------------------------------------------


def test_the_resnet_stage_is_stock_until_its_gates_open() -> None:
    torch.manual_seed(0)
    ours, stock = ResNetLayerMLLA(64, 32, 2, 3), ResNetLayer(64, 32, 2, False, 3)
    missing, unexpected = ours.load_state_dict(stock.state_dict(), strict=False)
    assert unexpected == []
    assert all(".block." in name or name.endswith(".gate") for name in missing)
    x = torch.randn(2, 64, 14, 10)
    with torch.no_grad():
        assert torch.equal(ours.eval()(x), stock.eval()(x))
        for bottleneck in ours.layer:
            before = ours(x)
            nn.init.ones_(bottleneck.gate)
            assert not torch.equal(ours(x), before)


def test_options_of_the_resnet_stage_matter() -> None:
    assert ResNetLayerMLLA(64, 32, 2, 1, gate="none").layer[0].gate is None
    torch.manual_seed(0)
    one, two = (ResNetLayerMLLA(64, 32, 1, 1, heads, "none").eval() for heads in (32, 16))
    two.load_state_dict(one.state_dict())
    x = torch.randn(1, 64, 6, 5)
    with torch.no_grad():
        assert not torch.equal(one(x), two(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([64, 32, 2, False, 3], "num_blocks=False, which must be at least 1; unlike ResNetLayer"),
        ([64, 32, 2, 0], "num_blocks=0, which must be at least 1"),
        ([64, 24, 2, 3], "ResNetLayerMLLA works at 24 channels"),
        ([64, 32, 2, 3, 32, "one"], "gate='one' is unknown; choose 'zero' or 'none'"),
    ],
)
def test_wrong_arguments_of_the_resnet_stage(arguments: list[object], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared below)
        ResNetLayerMLLA(*arguments)
    assert message in str(error.value)
