"""The table that `mlla models` prints is what the models are."""

import json
from importlib.resources import files

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlla.yolo import YOLO, model_names
from mlla.yolo.facts import count_gflops, model_facts, printed_gflops
from mlla.yolo.names import packaged

TABLE = json.loads(files("mlla.cli").joinpath("models.json").read_text())["models"]
ROWS = {row["name"]: row for row in TABLE}
SOME = ["yolov8n-mlla", "yolov8s-c2f-mlla-seg", "yolo11n-c2psa-mlla", "yolo11n-c3k2-mlla-cls"]
# built from Python, and counted where they are tested
OTHERS = ["mlla_tiny", "mlla_small", "mlla_base", "vm_unet"]


def test_the_table_lists_every_model_once() -> None:
    listed = [row["name"] for row in TABLE]
    asked = {name: packaged(name) for name in listed}
    # an older Ultralytics lacks the families that came after it
    buildable = [name for name in listed if not (asked[name] and asked[name].missing_release)]
    assert buildable == [*model_names(), *OTHERS]


@pytest.mark.parametrize(
    "name", [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in ROWS if n not in SOME)]
)
def test_a_row_of_the_table_is_true(name: str) -> None:
    if name in OTHERS:
        pytest.skip("counted in tests/models")
    if packaged(name).missing_release:
        pytest.skip("needs a newer Ultralytics")
    facts = model_facts(name)
    assert facts.pop("gflops") == pytest.approx(ROWS[name]["gflops"], rel=0.01)
    assert facts.items() <= ROWS[name].items()


def counted_by_running(network: nn.Module, size_px: int) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.zeros(1, 3, size_px, size_px))
    return counter.get_total_flops() / 1e9


@pytest.mark.parametrize(
    "name",
    [
        # linear attention, softmax attention, scans, a backbone of timm, and a classifier
        *("yolov8n-mlla", "yolo11n-c3k2-mlla", "yolo11n-c2psa-vss", "yolov8n-mlla-tiny-seg"),
        *("yolo11n-c2psa-mlla-cls", "yolov8n-multiscale-attention-obb"),
    ],
)
def test_the_count_is_that_of_a_run(name: str) -> None:
    network = YOLO(name).model
    before = {n: t.device for n, t in network.state_dict().items()}
    counted = count_gflops(network, 96)
    assert counted == pytest.approx(counted_by_running(network, 96), rel=1e-9)
    assert counted > 0
    # the run left its anchors in the head
    assert count_gflops(network, 96) == counted
    # the network itself stayed where it was
    assert {n: t.device for n, t in network.state_dict().items()} == before


@pytest.mark.parametrize(
    "name", [n for n in ("yolo11n-mlla-obb", "yolo26n-mlla", "rtdetr-l-mlla") if n in model_names()]
)
def test_facts_without_weights_are_those_of_the_model(name: str) -> None:
    model = YOLO(name)
    network, facts = model.model, model_facts(name)
    assert facts["task"] == model.task
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert facts["gflops"] == round(count_gflops(network, 640), 2)


def test_softmax_attention_costs_more_than_its_share_of_pixels() -> None:
    # per image, one term grows with the square of the pixels; MLLA has none such
    softmax, linear = (YOLO(f"yolo11n-{name}").model for name in ("c3k2-mlla", "c2psa-mlla"))
    assert count_gflops(softmax, 640) > 4.02 * count_gflops(softmax, 320)
    assert count_gflops(linear, 640) == pytest.approx(4 * count_gflops(linear, 320), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "gflops"), [("yolov8n", 8.7), ("yolo11n", 6.5), ("yolov8s", 28.6)]
)
def test_the_counter_agrees_with_published_costs(name: str, gflops: float) -> None:
    # at 640, by Ultralytics' documentation
    assert count_gflops(YOLO(f"{name}.yaml").model, 640) == pytest.approx(gflops, rel=0.03)


def test_what_ultralytics_prints_agrees_where_it_knows_the_modules() -> None:
    network = YOLO("yolov8n-mlla").model
    assert printed_gflops(network, 320) == pytest.approx(count_gflops(network, 320), rel=0.03)


def test_what_ultralytics_prints_has_our_scans_in_it() -> None:
    scan = YOLO("mamba-yolo-t").model
    assert printed_gflops(scan, 320) == pytest.approx(count_gflops(scan, 320), rel=0.03)


def test_what_ultralytics_cannot_count_is_not_zero() -> None:
    assert printed_gflops(nn.Identity(), 64) is None
