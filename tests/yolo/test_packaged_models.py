"""Every packaged model: head, strides, sizes of input, gradients, state, widths and numbers."""

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Detect

from mlla.yolo import YOLO, model_config, model_names
from mlla.yolo.names import packaged
from mlla.yolo.register import registered_rows
from mlla.yolo.rows import C2fMLLA, MLLABlocks

HEADS = {
    "detect": "Detect",
    "segment": "Segment",
    "pose": "Pose",
    "obb": "OBB",
    "classify": "Classify",
}
TASK_OF_SUFFIX = {"seg": "segment", "pose": "pose", "obb": "obb", "cls": "classify"}
NEWER = ("yolo11", "yolo12", "yolo26")
# RT-DETR decodes boxes in another way: its guarantees stand in test_rtdetr.py
NAMES = [name for name in model_names() if not name.startswith("rtdetr")]
# by default, all tasks of these and the detector of every other architecture
EVERY_TASK = ("yolov8n-mlla", "yolov8n-c2f-mlla", "yolov8n-mlla-backbone", "yolo11n-c3k2-mlla")


def smallest() -> list[object]:
    """Every architecture at its smallest scale for every task, most of the tasks as slow."""
    first: dict[str, str] = {}
    for name in NAMES:
        first.setdefault(packaged(name).file.stem, packaged(name).scale)
    chosen = [n for n in NAMES if packaged(n).scale == first[packaged(n).file.stem]]
    return [
        name
        if not packaged(name).suffix or name.startswith((*EVERY_TASK, "yolo26n-mlla-pose"))
        else pytest.param(name, marks=pytest.mark.slow)
        for name in chosen
    ]


def task_of(name: str) -> str:
    return TASK_OF_SUFFIX.get(name.rsplit("-", 1)[-1], "detect")


def head_of(name: str) -> str:
    """Return the class name of the head that the family's own model has."""
    task = task_of(name)
    newest = name.startswith("yolo26") and task in ("segment", "pose", "obb")
    return HEADS[task] + ("26" if newest else "")


def ours(network: nn.Module) -> list[nn.Module]:
    return [row for row in network.model if isinstance(row, tuple(registered_rows().values()))]


def tensors_in(output: object) -> list[torch.Tensor]:
    """Flatten what a network returns, in whatever nesting."""
    if isinstance(output, torch.Tensor):
        return [output]
    children = output.values() if isinstance(output, dict) else output
    return [tensor for child in children for tensor in tensors_in(child)]


@pytest.fixture(scope="module", params=smallest())
def named(request: pytest.FixtureRequest) -> tuple[str, YOLO]:
    torch.manual_seed(0)
    return request.param, YOLO(request.param)


@dataclass
class Built:
    """What a built model says about itself."""

    widths: list[object]  # channels behind every row but the head
    head: type[nn.Module]
    head_shapes: dict[str, torch.Size]
    num_parameters: int
    num_blocks: list[int]  # of every row that has blocks


@cache
def built(name: str) -> Built:
    """Build a packaged or stock model by name and run its rows on a small image."""
    rows, _ = tasks.parse_model(model_config(name), ch=3, verbose=False)
    outputs: list[object] = []
    x: object = torch.zeros(1, 3, 32, 64)
    with torch.no_grad():
        for row in rows.eval()[:-1]:
            if isinstance(row.f, list):
                x = [x if source == -1 else outputs[source] for source in row.f]
            elif row.f != -1:
                x = outputs[row.f]
            x = row(x)
            outputs.append(x)
    return Built(
        [o.shape[1] if isinstance(o, torch.Tensor) else [t.shape[1] for t in o] for o in outputs],
        type(rows[-1]),
        {parameter: tensor.shape for parameter, tensor in rows[-1].named_parameters()},
        sum(p.numel() for p in rows.parameters()),
        [
            len(row.blocks if isinstance(row, MLLABlocks) else row.m)
            for row in rows
            if isinstance(row, MLLABlocks | C2fMLLA)
        ],
    )


def test_the_inventory_of_yolov8_is_complete() -> None:
    # a classifier is a backbone, and some architectures have their blocks in the neck
    in_backbone = ("c2f-mlla", "mlla-backbone", "mlla-tiny")
    expected = {
        f"yolov8{scale}-{architecture}{suffix}"
        for scale in "nsmlx"
        for architecture in (*in_backbone, "mlla", "multiscale-attention")
        for suffix in ("", "-seg", "-pose", "-obb", "-cls")
        if suffix != "-cls" or architecture in in_backbone
    }
    assert {name for name in NAMES if name.startswith("yolov8")} == expected


def test_no_name_contains_a_token_that_selects_another_class() -> None:
    for name in NAMES:
        assert not any(token in name for token in ("-world", "yoloe", "rtdetr", "sam_"))


def test_the_head_is_the_stock_head_of_the_task(named: tuple[str, YOLO]) -> None:
    name, model = named
    assert model.task == task_of(name)
    assert type(model.model.model[-1]).__name__ == head_of(name)


def test_the_class_branch_is_that_of_the_family(named: tuple[str, YOLO]) -> None:
    # YOLO11 and later have depthwise convolutions, nested one level deeper
    name, model = named
    head = model.model.model[-1]
    if isinstance(head, Detect):
        newer = name.startswith(NEWER)
        assert head.legacy is not newer
        first = head.cv3[0][0][0] if newer else head.cv3[0][0]
        assert first.conv.groups == (first.conv.in_channels if newer else 1)
        assert first.conv.kernel_size == (3, 3)
        # and YOLO26 has a second one of each branch, and no bins
        assert hasattr(head, "one2one_cv3") is name.startswith("yolo26")
        assert head.reg_max == (1 if name.startswith("yolo26") else 16)


def test_strides_are_8_16_32(named: tuple[str, YOLO]) -> None:
    _, model = named
    if model.task != "classify":
        assert model.model.stride.tolist() == [8, 16, 32]


def test_some_rows_are_ours(named: tuple[str, YOLO]) -> None:
    _, model = named
    assert ours(model.model)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160), (32, 224), (32, 32)])
def test_any_size_of_input_gives_finite_predictions(
    named: tuple[str, YOLO], height: int, width: int
) -> None:
    # 96x160 ends in an odd 3x5 map, 32x224 in 1x7, 32x32 in 1x1 as when FLOPs are counted
    _, model = named
    with torch.no_grad():
        output = model.model.eval()(torch.rand(2, 3, height, width))
    predictions = tensors_in(output)
    assert all(tensor.isfinite().all() for tensor in predictions)
    if model.task == "classify":
        assert predictions[0].shape == (2, 80)
    else:
        places = sum((height // s) * (width // s) for s in (8, 16, 32))
        assert predictions[0].shape[0] == 2
        # the second head of YOLO26, which some releases use by default, returns its best 300
        best = getattr(model.model.model[-1], "end2end", False)
        assert predictions[0].shape[1 if best else -1] == (min(places, 300) if best else places)


def test_every_parameter_gets_a_gradient(named: tuple[str, YOLO]) -> None:
    name, model = named
    network = model.model.train()
    for parameter_name, parameter in network.named_parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
        if parameter_name.endswith("gate"):
            # a closed gate lets nothing back into its block
            parameter.data.fill_(0.5)
    output = network(torch.rand(2, 3, 64, 96))
    sum(t.float().square().sum() for t in tensors_in(output)).backward()
    without = {
        name
        for name, p in network.named_parameters()
        if p.grad is None or not p.grad.abs().sum() > 0
    }
    # dfl holds the bin numbers, which only the decoding of predictions reads
    # and flow_model the distribution of keypoints, which only the loss reads
    idle = {"dfl", "flow_model"}
    if "tiny-cls" in name:
        # stages that a detector reads
        idle |= {"stage_norms.1", "stage_norms.2"}
    assert {name for name in without if not any(part in name for part in idle)} == set()


def test_the_state_dict_survives_a_round_trip(named: tuple[str, YOLO]) -> None:
    name, model = named
    other = YOLO(name)
    x = torch.rand(1, 3, 64, 64)
    other.model.load_state_dict(model.model.state_dict(), strict=True)
    with torch.no_grad():
        ours, theirs = model.model.eval()(x), other.model.eval()(x)
    for a, b in zip(tensors_in(ours), tensors_in(theirs), strict=True):
        assert torch.equal(a, b)


def test_our_rows_keep_no_float_tables(named: tuple[str, YOLO]) -> None:
    # checkpoints are stored in fp16, buffers included; statistics of norms can bear that
    _, model = named
    for row in ours(model.model):
        names = {name.rsplit(".", 1)[-1] for name, _ in row.named_buffers()}
        assert names <= {"running_mean", "running_var", "num_batches_tracked"}


def test_forward_leaves_no_cache_on_the_modules(named: tuple[str, YOLO]) -> None:
    _, model = named
    modules = [module for row in ours(model.model) for module in row.modules()]
    before = [set(vars(module)) for module in modules]
    with torch.inference_mode():
        model.model.eval()(torch.rand(1, 3, 32, 96))
    assert [set(vars(module)) for module in modules] == before


@pytest.mark.parametrize("name", ["yolov8-mlla", "yolov8n-mlla", "yolov8n-mlla.yaml"])
def test_scale_and_suffix_are_optional(name: str) -> None:
    assert sum(p.numel() for p in YOLO(name).model.parameters()) == 4_300_048


def block_parameters(width: int) -> int:
    """Count an MLLA block: 13 CxC matrices and 54 vectors of length C."""
    # CPE 10, norm 2, in 1, gate 1, conv 10, query-key 2, LePE 10, out 1, CPE 10, norm 2, MLP 5
    return 13 * width**2 + 54 * width


@pytest.mark.parametrize(
    ("scale", "stock", "neck"),
    [
        # published sizes of YOLOv8 with 80 classes, before fusing, and its neck widths
        ("n", 3_157_200, (64, 128, 256)),
        ("s", 11_166_560, (128, 256, 512)),
        ("m", 25_902_640, (192, 384, 576)),
        ("l", 43_691_520, (256, 512, 512)),
        ("x", 68_229_648, (320, 640, 640)),
    ],
)
def test_attention_after_the_neck_adds_exactly_its_blocks(
    scale: str, stock: int, neck: tuple[int, ...]
) -> None:
    # and a gate per channel
    expected = stock + sum(block_parameters(width) + width for width in neck)
    assert built(f"yolov8{scale}-mlla.yaml").num_parameters == expected


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("architecture", ["mlla", "c2f-mlla"])
def test_rows_of_yolov8_keep_their_widths_at_every_scale(architecture: str, scale: str) -> None:
    stock = built(f"yolov8{scale}.yaml").widths
    ours = built(f"yolov8{scale}-{architecture}.yaml").widths
    assert ours[: len(stock)] == stock
    assert ours[len(stock) :] in ([], [stock[row] for row in (15, 18, 21)])


@pytest.mark.parametrize("scale", "nsmlx")
def test_the_slim_pyramid_has_the_widths_of_yolov8(scale: str) -> None:
    stock = built(f"yolov8{scale}.yaml").widths
    ours = built(f"yolov8{scale}-mlla-backbone.yaml").widths
    # P2 to P5 of the backbone, and the three rows that the head reads
    assert [ours[row] for row in (1, 3, 5, 7)] == [stock[row] for row in (2, 4, 6, 8)]
    assert [ours[row] for row in (14, 17, 20)] == [stock[row] for row in (15, 18, 21)]


@pytest.mark.parametrize("scale", "nsmlx")
def test_mlla_t_keeps_its_widths_and_the_neck_scales(scale: str) -> None:
    stock = built(f"yolov8{scale}.yaml").widths
    ours = built(f"yolov8{scale}-mlla-tiny.yaml").widths
    assert ours[:4] == [[128, 256, 512], 128, 256, 512]
    assert [ours[row] for row in (10, 13, 16)] == [stock[row] for row in (15, 18, 21)]


@pytest.mark.parametrize("scale", "nsmlx")
def test_the_number_of_blocks_follows_the_depth(scale: str) -> None:
    depth = {"n": 1 / 3, "s": 1 / 3, "m": 2 / 3, "l": 1, "x": 1}[scale]
    stages = [1, round(3 * depth), round(6 * depth), round(3 * depth)]
    assert built(f"yolov8{scale}-mlla-backbone.yaml").num_blocks == stages
    stages = [round(n * depth) for n in (6, 3, 3, 3, 3)]
    assert built(f"yolov8{scale}-c2f-mlla.yaml").num_blocks == stages


@pytest.mark.parametrize("suffix", ["-seg", "-pose", "-obb"])
@pytest.mark.parametrize("scale", "nsmlx")
def test_a_head_is_as_large_as_that_of_yolov8(suffix: str, scale: str) -> None:
    with torch.device("meta"):
        stock, ours = (
            tasks.parse_model(model_config(f"yolov8{scale}{name}.yaml"), ch=3, verbose=False)[0][-1]
            for name in (suffix, f"-mlla{suffix}")
        )
    shapes = [{name: p.shape for name, p in head.named_parameters()} for head in (stock, ours)]
    assert type(ours) is type(stock)
    assert shapes[0] == shapes[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_scale_of_every_task_predicts(name: str) -> None:
    model = YOLO(name)
    assert type(model.model.model[-1]).__name__ == head_of(name)
    with torch.no_grad():
        output = model.model.eval()(torch.rand(1, 3, 64, 96))
    assert all(tensor.isfinite().all() for tensor in tensors_in(output))
