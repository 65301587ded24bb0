"""The table that `mlla models` prints is what the models are."""

import json
from importlib.resources import files

import pytest

from mlla.yolo import YOLO, model_names
from mlla.yolo.facts import count_gflops, model_facts

TABLE = json.loads(files("mlla.cli").joinpath("models.json").read_text())["models"]
ROWS = {row["name"]: row for row in TABLE}
SOME = ["yolov8n-mlla", "yolov8s-c2f-mlla-seg", "yolov8n-mlla-backbone-cls"]


def test_the_table_lists_every_model_once():
    listed = [row["name"] for row in TABLE]
    assert listed == [*model_names(), "mlla_tiny", "mlla_small", "mlla_base"]


@pytest.mark.parametrize(
    "name", [*SOME, *(pytest.param(n, marks=pytest.mark.slow) for n in ROWS if n not in SOME)]
)
def test_a_row_of_the_table_is_true(name):
    if not name.startswith("yolo"):
        pytest.skip("timm models are counted in tests/models")
    facts = model_facts(name)
    assert facts.pop("gflops") == pytest.approx(ROWS[name]["gflops"], rel=0.01)
    assert facts.items() <= ROWS[name].items()


def test_cost_is_linear_in_pixels():
    model = YOLO("yolov8n-mlla").model
    assert count_gflops(model, 320) == pytest.approx(4 * count_gflops(model, 160), rel=1e-6)


def test_the_counter_agrees_with_the_published_cost_of_yolov8n():
    # 8.7 GFLOPs at 640 by Ultralytics' documentation
    assert 16 * count_gflops(YOLO("yolov8n.yaml").model, 160) == pytest.approx(8.7, rel=0.03)
