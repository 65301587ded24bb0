"""YOLO11, YOLO12 and YOLO26 with MLLA: stock rows at every scale, the right head, weights kept."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from torch import Tensor, nn
from ultralytics.nn import tasks

from mlla.blocks import MLLABlock
from mlla.yolo import YOLO, model_config, model_names, plug
from mlla.yolo.names import FOLDER, family_of, packaged, stock_config
from mlla.yolo.rows import Inserted, MLLABlocks
from mlla.yolo.yolo11_rows import C2PSAMLLA, C3k2MLLA

StockCheckpoint = Callable[[str], Path]
# the rows of the stock model that are replaced, and the parts of them that are new
REPLACED = {"c3k2-mlla": (6, 8, 13, 19, 22), "c2psa-mlla": (10,), "mlla": ()}
NEW_PARTS = {"c3k2-mlla": r"m\.", "c2psa-mlla": r"m\.\d+\.attn\.", "mlla": "nothing"}
# published parameters with 80 classes, by Ultralytics' model files
PUBLISHED = {
    "yolo11": (2_624_080, 9_458_752, 20_114_688, 25_372_160, 56_966_176),
    "yolo12": (2_602_288, 9_284_096, 20_199_168, 26_450_784, 59_210_784),
    "yolo26": (2_572_280, 10_009_784, 21_896_248, 26_299_704, 58_993_368),
}
NECK_WIDTHS = ((64, 128, 256), (128, 256, 512), (256, 512, 512), (256, 512, 512), (384, 768, 768))
FAMILIES = [family for family in PUBLISHED if any(n.startswith(family) for n in model_names())]
MODELS = [
    (family, architecture)
    for family in FAMILIES
    for architecture in REPLACED
    if packaged(f"{family}-{architecture}")
]


def parsed(name: str) -> nn.Sequential:
    """Return the rows of a model, without weights."""
    with torch.device("meta"):
        return tasks.parse_model(model_config(f"{name}.yaml"), ch=3, verbose=False)[0]


def shapes_of(row: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in row.state_dict().items()}


def flat(output: object) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    children = output.values() if isinstance(output, dict) else output
    return [tensor for child in children for tensor in flat(child)]


def outputs(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return flat(network.float().eval()(x))


# -- what the models are -----------------------------------------------------------------------


def test_newer_families_are_listed_where_they_can_be_built() -> None:
    version = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
    oldest = {"yolo11": (8, 3, 0), "yolo12": (8, 3, 78), "yolo26": (8, 4, 0)}
    assert [family for family in PUBLISHED if version >= oldest[family]] == FAMILIES
    for family in set(PUBLISHED) - set(FAMILIES):
        with pytest.raises(ValueError, match=rf"{family} needs ultralytics 8\.\d+\.\d+ or newer"):
            YOLO(f"{family}n-mlla")


@pytest.mark.parametrize(("family", "architecture"), MODELS)
@pytest.mark.parametrize("scale", "nsmlx")
def test_all_but_the_replaced_parts_is_stock_at_every_scale(
    family: str, architecture: str, scale: str
) -> None:
    stock, ours = (parsed(f"{family}{scale}{suffix}") for suffix in ("", f"-{architecture}"))
    depth = 2 if scale in "lx" else 1
    added = [row for row in ours if isinstance(row, MLLABlocks)]
    assert len(ours) == len(stock) + len(added)
    for number, before in enumerate(stock):
        after = ours[-1] if number == len(stock) - 1 else ours[number]
        if number not in REPLACED[architecture]:
            assert type(before) is type(after)
            assert shapes_of(before) == shapes_of(after)
            continue
        new = re.compile(NEW_PARTS[architecture])
        kept = {n: shape for n, shape in shapes_of(before).items() if not new.match(n)}
        assert kept.items() <= shapes_of(after).items()
        assert type(after) is (C3k2MLLA if architecture == "c3k2-mlla" else C2PSAMLLA)
        # the same units at every scale, where C3k2 changes its own at m, l and x
        assert len(after.m) == (1 if (family, number) == ("yolo26", 22) else depth)
        if architecture == "c3k2-mlla":
            assert {type(unit) for unit in after.m} == {MLLABlock}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scale", "nsmlx")
def test_attention_after_the_neck_adds_exactly_its_blocks(family: str, scale: str) -> None:
    # an MLLA block has 13 CxC matrices and 54 vectors of length C, and the gate is one more
    place = "nsmlx".index(scale)
    expected = PUBLISHED[family][place] + sum(13 * w**2 + 55 * w for w in NECK_WIDTHS[place])
    assert sum(p.numel() for p in parsed(f"{family}{scale}-mlla").parameters()) == expected


@pytest.mark.parametrize("scale", "nsmlx")
@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "yolo12"])
def test_mlla_t_feeds_the_neck_of_the_family(family: str, scale: str) -> None:
    stock, ours = parsed(f"{family}{scale}"), parsed(f"{family}{scale}-mlla-tiny")
    widths = [stock[row].cv2.conv.out_channels for row in (16, 19, 22)]
    assert [ours[row].cv2.conv.out_channels for row in (10, 13, 16)] == widths
    assert shapes_of(ours[-1]) == shapes_of(stock[-1])
    assert [type(ours[row]) for row in (10, 13, 16)] == [type(stock[row]) for row in (16, 19, 22)]


@pytest.mark.parametrize("suffix", ["seg", "pose", "obb"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_of_every_task_is_stock(family: str, suffix: str) -> None:
    for scale in "nm":
        stock, ours = (parsed(f"{family}{scale}{middle}-{suffix}")[-1] for middle in ("", "-mlla"))
        assert type(stock) is type(ours)
        assert ours.legacy is False
        if suffix == "pose":
            # ours detect people only
            stock = tasks.parse_model(
                {**model_config(f"{family}{scale}-pose.yaml"), "nc": 1}, ch=3, verbose=False
            )[0][-1]
        assert shapes_of(stock) == shapes_of(ours)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "yolo12"])
def test_a_classifier_is_the_stock_one_but_for_its_units(family: str) -> None:
    stock, ours = (model_config(f"{family}n{middle}-cls.yaml") for middle in ("", "-c2psa-mlla"))
    rows = [[*row[:2], row[2].replace("C2PSAMLLA", "C2PSA"), row[3]] for row in ours["backbone"]]
    assert rows == stock["backbone"]
    assert ours["scales"] == stock["scales"]
    assert set(ours) <= set(stock)


# -- the head that Ultralytics would silently exchange -----------------------------------------


def write_without_stock_stages(path: Path, keep: int | None) -> Path:
    config = yaml.safe_load((FOLDER / "yolo11-c3k2-mlla.yaml").read_text())
    for number, row in enumerate([*config["backbone"], *config["head"]]):
        if row[2] == "C3k2" and number != keep:
            row[2:] = ["C3k2MLLA", [row[3][0]]]
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("stem", ["yolo11n-own", "own"])
def test_a_model_that_would_get_the_head_of_yolov8_is_refused(
    private_folder: Path, stem: str
) -> None:
    file = write_without_stock_stages(private_folder / f"{stem}.yaml", keep=None)
    with pytest.raises(ValueError, match=r"silently takes that of YOLOv8; keep one, such as row 2"):
        YOLO(file)
    # which is so: another branch, and 432,752 parameters more
    head = tasks.parse_model(
        {**yaml.safe_load(file.read_text()), "scale": "n"}, ch=3, verbose=False
    )[0][-1]
    assert head.legacy is True
    stock = parsed("yolo11n")[-1]
    sizes = [sum(p.numel() for p in branch.parameters()) for branch in (stock, head)]
    assert sizes[1] - sizes[0] == 432_752


def test_the_remedy_gives_the_head_of_yolo11(private_folder: Path) -> None:
    file = write_without_stock_stages(private_folder / "yolo11n-own.yaml", keep=2)
    head = YOLO(file).model.model[-1]
    assert head.legacy is False
    assert shapes_of(head) == shapes_of(parsed("yolo11n")[-1])


def test_models_whose_head_is_not_in_question_are_left_alone(private_folder: Path) -> None:
    # a classifier has no such head, and YOLOv8's is what a YOLOv8 wants
    rows = [[-1, 1, "Conv", [64, 3, 2]], [-1, 1, "C3k2MLLA", [64]]]
    config = {"nc": 2, "backbone": rows, "head": [[-1, 1, "Classify", ["nc"]]]}
    (private_folder / "yolo11-own.yaml").write_text(yaml.safe_dump(config))
    assert YOLO("yolo11-own.yaml").task == "classify"
    config = model_config("yolov8n-c2f-mlla")
    config["backbone"].append([-1, 1, "C2PSAMLLA", [1024]])
    config["head"] = [[[4, 6, 10], 1, "Detect", ["nc"]]]
    (private_folder / "yolov8-own.yaml").write_text(yaml.safe_dump(config))
    assert YOLO("yolov8n-own.yaml").model.model[-1].legacy is True


# -- weights -----------------------------------------------------------------------------------


# a convolution and its norm are 6 tensors: a Bottleneck has two of them, a C3k seven, the attention
# of a PSABlock three; row 22 of YOLO26 has a Bottleneck and a PSABlock, which has five
@pytest.mark.parametrize(
    ("name", "total", "kept"),
    [
        ("yolo11n-mlla", 499, 499),
        ("yolo11n-c3k2-mlla", 499, 499 - 6 * (3 * 7 + 2 * 2)),
        ("yolo11n-c2psa-mlla", 499, 499 - 6 * 3),
        ("yolo12n-mlla", 691, 691),
        ("yolo26n-mlla", 708, 708),
        ("yolo26n-c3k2-mlla", 708, 708 - 6 * (4 * 7 + 2 + 5)),
        ("yolo26n-c2psa-mlla", 708, 708 - 6 * 3),
    ],
)
def test_the_weights_of_the_stock_model_are_kept(
    name: str, total: int, kept: int, stock_checkpoint: StockCheckpoint
) -> None:
    if name not in model_names():
        pytest.skip("needs a newer Ultralytics")
    family, architecture = name[:6], name[8:]
    stock = ultralytics.YOLO(stock_checkpoint(f"{family}n")).model.float()
    ours = YOLO(name).load(stock_checkpoint(f"{family}n")).model
    head = len(stock.model) - 1
    numbers = {n: n for n in range(head)} | {head: len(ours.model) - 1}
    replaced = "|".join(map(str, REPLACED[architecture])) or "none"
    new = rf"model\.({replaced})\.{NEW_PARTS[architecture]}"
    state, equal, expected = ours.state_dict(), set(), set()
    for tensor_name, tensor in stock.state_dict().items():
        _, row, rest = tensor_name.split(".", 2)
        there = state.get(f"model.{numbers[int(row)]}.{rest}")
        if there is not None and torch.equal(there, tensor):
            equal.add(tensor_name)
        if not re.match(new, tensor_name):
            expected.add(tensor_name)
    assert len(stock.state_dict()) == total
    assert equal == expected
    assert len(equal) == kept


@pytest.mark.parametrize("family", FAMILIES)
def test_with_its_weights_the_model_starts_as_the_stock_one(
    family: str, stock_checkpoint: StockCheckpoint
) -> None:
    path, x = stock_checkpoint(f"{family}n"), torch.rand(1, 3, 96, 64)
    stock, ours = ultralytics.YOLO(path).model, YOLO(f"{family}n-mlla").load(path).model
    for a, b in zip(outputs(stock, x), outputs(ours, x), strict=True):
        assert torch.equal(a, b)


PLUGGED = [
    ("yolo11n", "neck", 499),
    ("yolo11n-seg", "p5", 561),
    ("yolo11n-pose", "neck", 541),
    ("yolo11n-obb", "p5", 541),
    ("yolo11n-cls", "p5", 236),
    ("yolo12n", "neck", 691),
    ("yolo12n-seg", "p5", 753),
    ("yolo12n-cls", "p5", 350),
    ("yolo26n", "neck", 708),
    ("yolo26n", "p5", 708),
    ("yolo26n-seg", "neck", 844),
    ("yolo26n-pose", "p5", 879),
    ("yolo26n-obb", "neck", 792),
    ("yolo26n-cls", "p5", 236),
]


@pytest.mark.parametrize(("name", "at", "tensors"), PLUGGED)
def test_plug_keeps_every_tensor_and_the_function(
    name: str, at: str, tensors: int, stock_checkpoint: StockCheckpoint
) -> None:
    if name[:6] not in FAMILIES:
        pytest.skip("needs a newer Ultralytics")
    original = ultralytics.YOLO(stock_checkpoint(name))
    plugged = plug(stock_checkpoint(name), at=at)
    assert plugged.task == original.task
    new = [number for number, row in enumerate(plugged.model.model) if isinstance(row, Inserted)]
    assert len(new) == (3 if at == "neck" else 1)
    kept = [n for n in plugged.model.state_dict() if int(n.split(".")[1]) not in new]
    assert len(kept) == len(original.model.state_dict()) == tensors
    heads = [model.model.model[-1] for model in (original, plugged)]
    assert shapes_of(heads[0]) == shapes_of(heads[1])
    x = torch.rand(2, 3, 64, 96)
    for both in (False, True):
        if both and hasattr(heads[0], "one2one_cv3"):
            # the other of the two heads of YOLO26 decides
            for head in heads:
                head.end2end = True
        for a, b in zip(*(outputs(m.model, x) for m in (original, plugged)), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_model_is_refused(family: str, stock_checkpoint: StockCheckpoint) -> None:
    fused = YOLO(stock_checkpoint(f"{family}n"))
    fused.fuse()
    with pytest.raises(ValueError, match="the model is fused for inference"):
        plug(fused)


def test_families_are_read_from_the_start_of_a_name() -> None:
    names = {"yolo11-mamba": "yolo11", "yolov8-mlla": "yolov8", "mamba-yolo": "yolov8"}
    assert {stem: family_of(stem) for stem in names} == names
    assert stock_config("yolo11", "")["head"][-1][2] == "Detect"
