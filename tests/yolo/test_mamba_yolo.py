"""Mamba-YOLO and YOLO11 with its backbone: what every packaged model promises, and training."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C2PSA, OBB, C3k2, Classify, Detect, Pose, Segment

from mlla.yolo import YOLO, model_config, model_names
from mlla.yolo.mamba_yolo_rows import ODSSBlocks, SimpleStem, VisionClueMerge, XSSStage

ROWS = (SimpleStem, VisionClueMerge, ODSSBlocks, XSSStage)
HEADS = {"": Detect, "seg": Segment, "pose": Pose, "obb": OBB, "cls": Classify}
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
# releases of before PyTorch 2.9 rely on its old exporter and misread its newest opset
OF_ITS_TIME = {"opset": 17} if VERSION < (8, 4, 0) else {}


def tensors_in(output: object) -> list[Tensor]:
    """Flatten what a network returns, in whatever nesting."""
    if isinstance(output, Tensor):
        return [output]
    children = output.values() if isinstance(output, dict) else output
    return [tensor for child in children for tensor in tensors_in(child)]


@pytest.fixture(scope="module", params=["mamba-yolo-t", "yolo11-mamba-t"])
def named(request: pytest.FixtureRequest) -> tuple[str, YOLO]:
    torch.manual_seed(0)
    return request.param, YOLO(request.param)


# -- names, sizes and heads --------------------------------------------------------------------


def test_the_inventory_is_complete() -> None:
    expected = {
        f"{name}{suffix and '-'}{suffix}"
        for name in (
            *(f"mamba-yolo-{scale}" for scale in "tbl"),
            "yolo11-mamba-t",
            "yolo11-mamba-b",
        )
        for suffix in HEADS
    }
    assert {name for name in model_names() if "mamba" in name} == expected


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # what the authors' code builds at 80 classes
        ("mamba-yolo-t", 6_131_704),
        ("mamba-yolo-b", 21_828_000),
        ("mamba-yolo-l", 57_631_024),
    ],
)
def test_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    for spelling in (name, f"{name}.yaml"):
        rows, _ = tasks.parse_model(model_config(spelling), ch=3, verbose=False)
        assert sum(p.numel() for p in rows.parameters()) == parameters


def widths(name: str, rows: list[int]) -> list[int]:
    network, _ = tasks.parse_model(model_config(name), ch=3, verbose=False)
    return [[p.shape[0] for p in network[row].parameters() if p.dim() > 1][-1] for row in rows]


@pytest.mark.parametrize(("scale", "stock"), [("t", "n"), ("b", "s")])
def test_yolo11_keeps_the_widths_of_its_neck(scale: str, stock: str) -> None:
    # C2PSA, the three levels that the head reads
    ours = widths(f"yolo11-mamba-{scale}", [9, 15, 18, 21])
    assert ours == widths(f"yolo11{stock}.yaml", [10, 16, 19, 22])


@pytest.mark.parametrize("suffix", HEADS)
def test_the_head_is_the_stock_head_of_the_task(suffix: str) -> None:
    for family in ("mamba-yolo-t", "yolo11-mamba-t"):
        name = f"{family}{suffix and '-'}{suffix}"
        rows, _ = tasks.parse_model(model_config(name), ch=3, verbose=False)
        assert type(rows[-1]) is HEADS[suffix]
        if suffix != "cls":
            # YOLO11's class branch has depthwise convolutions, YOLOv8's plain ones
            assert rows[-1].legacy == (family == "mamba-yolo-t")
            assert isinstance(rows[-1].cv3[0][0], nn.Sequential) == (family != "mamba-yolo-t")


def test_each_model_is_made_of_its_rows(named: tuple[str, YOLO]) -> None:
    name, model = named
    types = [type(row) for row in model.model.model]
    assert types[:8] == [SimpleStem, *[ODSSBlocks, VisionClueMerge] * 3, ODSSBlocks]
    assert [len(row.blocks) for row in model.model.model if type(row) is ODSSBlocks] == [1, 1, 3, 1]
    if name == "mamba-yolo-t":
        assert types.count(XSSStage) == 4
    else:
        assert (types.count(C2PSA), types.count(C3k2), types.count(XSSStage)) == (1, 4, 0)
    assert model.model.stride.tolist() == [8, 16, 32]


# -- what every packaged model promises --------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (32, 224), (32, 32)])
def test_any_size_of_input_gives_finite_predictions(
    named: tuple[str, YOLO], height: int, width: int
) -> None:
    # 96x160 ends in an odd 3x5 map, 32x32 in 1x1 as when FLOPs are counted
    _, model = named
    image = torch.rand(2, 3, height, width)
    with torch.no_grad():
        output = model.model.eval()(image)
        strided = model.model(image.contiguous(memory_format=torch.channels_last))
    cells = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    assert tensors_in(output)[0].shape == (2, 84, cells)
    assert all(tensor.isfinite().all() for tensor in tensors_in(output))
    torch.testing.assert_close(strided[0], output[0], rtol=1e-3, atol=1e-3)


def test_a_gradient_reaches_every_parameter(named: tuple[str, YOLO]) -> None:
    _, model = named
    network = model.model.train().requires_grad_(True)
    network.zero_grad()
    outputs = tensors_in(network(torch.rand(2, 3, 64, 96)))
    sum(tensor.square().sum() for tensor in outputs).backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # dfl holds the bin numbers, which only the decoding of predictions reads
    assert all("dfl" in parameter for parameter in without)
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_the_state_dict_survives_a_round_trip(named: tuple[str, YOLO]) -> None:
    name, model = named
    other, image = YOLO(name), torch.rand(1, 3, 64, 64)
    other.model.load_state_dict(model.model.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(model.model.eval()(image)[0], other.model.eval()(image)[0])


def test_our_rows_keep_no_tables_and_no_cache(named: tuple[str, YOLO]) -> None:
    _, model = named
    rows = [row for row in model.model.model if isinstance(row, ROWS)]
    buffers = {name.rpartition(".")[2] for row in rows for name, _ in row.named_buffers()}
    # checkpoints are stored in fp16, buffers included; statistics of norms can bear that
    assert buffers == {"running_mean", "running_var", "num_batches_tracked"}
    modules = [module for row in rows for module in row.modules()]
    before = [set(vars(module)) for module in modules]
    with torch.inference_mode():
        model.model.eval()(torch.rand(1, 3, 32, 96))
    assert [set(vars(module)) for module in modules] == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_no_nan(named: tuple[str, YOLO], dtype: torch.dtype) -> None:
    _, model = named
    network = model.model.train()
    with torch.autocast("cpu", dtype):
        outputs = tensors_in(network(torch.rand(2, 3, 64, 96)))
    loss = sum(tensor.float().square().mean() for tensor in outputs)
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_a_row_that_cannot_repeat_says_so() -> None:
    for row in (SimpleStem, VisionClueMerge):
        with pytest.raises(ValueError, match=f"{row.__name__} cannot repeat"):
            row(4, 8, 2)


def test_the_first_block_of_a_row_changes_the_width() -> None:
    row = ODSSBlocks(6, 10, 3).eval()
    assert row(torch.rand(1, 6, 5, 7)).shape == (1, 10, 5, 7)
    assert len(XSSStage(6, 10, 3).block.scans) == 3


# -- training, files and exports ---------------------------------------------------------------


# a detector of one level with each of our rows
SMALL = """
nc: 2
backbone:
  - [-1, 1, SimpleStem, [8]]
  - [-1, 1, VisionClueMerge, [8]]
  - [-1, 1, ODSSBlocks, [8]]
  - [-1, 1, VisionClueMerge, [16]]
head:
  - [-1, 1, XSSStage, [8]]
  - [[2, 4], 1, Detect, [nc]]
"""

EVERY = ["small.yaml"] + [
    pytest.param(name, marks=pytest.mark.slow) for name in ("mamba-yolo-t", "yolo11-mamba-t")
]


@pytest.fixture
def small_yaml(private_folder: Path) -> None:
    """Put the small model into the folder where the test runs."""
    (private_folder / "small.yaml").write_text(SMALL)


@pytest.mark.usefixtures("small_yaml")
@pytest.mark.parametrize("name", EVERY)
def test_a_trained_model_learns_validates_and_opens_in_stock_ultralytics(
    name: str,
    dataset: Callable[[str], Path],
    image: Path,
    train_arguments: Callable[..., dict[str, object]],
    fresh_python: Callable[..., str],
    private_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start: dict[str, Tensor] = {}
    end: dict[str, Tensor] = {}

    def note(values: dict[str, Tensor]) -> Callable[[object], None]:
        return lambda trainer: values.update(
            {n: p.detach().clone() for n, p in trainer.model.named_parameters()}
        )

    model = YOLO(name)
    model.add_callback("on_train_start", note(start))
    model.add_callback("on_train_end", note(end))
    model.train(data=str(dataset("detect")), **train_arguments())
    head = f"model.{len(model.model.model) - 1}."
    still = {n for n, p in start.items() if p.dim() > 1 and torch.equal(p, end[n])}
    assert {n for n in still if not n.startswith(head)} == set()
    assert all(tensor.isfinite().all() for tensor in end.values())

    best = private_folder / "run" / "weights" / "best.pt"
    sizes: set[tuple[int, int]] = set()
    forward = ODSSBlocks.forward

    def recording(self: ODSSBlocks, x: Tensor) -> Tensor:
        sizes.add(tuple(x.shape[2:]))
        return forward(self, x)

    monkeypatch.setattr(ODSSBlocks, "forward", recording)
    metrics = YOLO(best).val(data=str(dataset("detect")), imgsz=64, batch=1, plots=False)
    assert any(height < width for height, width in sizes)
    assert any(height > width for height, width in sizes)
    assert math.isfinite(metrics.box.map50)

    output = fresh_python(
        "import sys\n"
        "from ultralytics import YOLO\n"
        "assert 'mlla' not in sys.modules\n"
        "model = YOLO(sys.argv[1])\n"
        "print('found', len(model.predict(sys.argv[2], imgsz=64, verbose=False)))\n",
        best,
        image,
    )
    assert "found 1" in output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mamba-yolo-t", "yolo11-mamba-t"])
@pytest.mark.parametrize("suffix", ["seg", "pose", "obb", "cls"])
def test_other_tasks_train(
    name: str,
    suffix: str,
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
) -> None:
    model = YOLO(f"{name}-{suffix}")
    model.train(data=str(dataset(model.task)), **train_arguments())
    assert (private_folder / "run" / "weights" / "best.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in model_names() if "mamba" in n and "-t" not in n])
def test_every_scale_of_every_task_predicts(name: str) -> None:
    with torch.no_grad():
        output = YOLO(name).model.eval()(torch.rand(1, 3, 64, 96))
    assert all(tensor.isfinite().all() for tensor in tensors_in(output))


@pytest.mark.usefixtures("small_yaml")
@pytest.mark.parametrize("name", EVERY)
def test_dynamic_onnx_agrees_at_every_size(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if OF_ITS_TIME:
        export = partial(torch.onnx.export, dynamo=False)
        monkeypatch.setattr(torch.onnx, "export", export)
    model = YOLO(name)
    # slimming takes most of the time of an export
    options = {"dynamic": True, "simplify": name != "small.yaml", **OF_ITS_TIME}
    file = model.export(format="onnx", device="cpu", imgsz=64, **options)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    # nothing but standard operators of real numbers
    assert {operator.domain for operator in onnx.load(file).opset_import} <= {"", "ai.onnx"}
    network = model.model.float().eval()
    for shape in ((1, 3, 64, 64), (2, 3, 96, 160), (1, 3, 32, 224)):
        x = torch.rand(shape)
        output = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        with torch.no_grad():
            expected = tensors_in(network(x))[0].numpy()
        assert output.shape == expected.shape
        assert np.abs(output - expected).max() / np.abs(expected).max() <= 1e-4
