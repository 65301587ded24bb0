"""Configurations from configurations: the network stays what it was where nothing was asked."""

from copy import deepcopy

import pytest
import torch
from ultralytics.nn import tasks
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from mlla.yolo import model_config
from mlla.yolo.expand import insert_after, insert_before_head, matching_rows, rows_of, with_task
from mlla.yolo.names import stock_config
from mlla.yolo.transfer import rename_rows

IDENTITY = [1, "nn.Identity", []]


@pytest.fixture(scope="module")
def stock() -> tuple[dict, DetectionModel, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    config = yaml_model_load("yolov8n.yaml")
    network = DetectionModel(deepcopy(config), verbose=False).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        return config, network, x, network(x)[0]


@pytest.mark.parametrize(
    "places", [[0], [21], [9], [4, 6, 9], [15, 18, 21], [2, 3, 10, 11, 12], list(range(22))]
)
@pytest.mark.parametrize("insert", [insert_after, insert_before_head])
def test_inserting_identities_leaves_the_function_unchanged(
    stock: tuple[dict, DetectionModel, torch.Tensor, torch.Tensor], insert, places: list[int]
) -> None:
    config, network, x, expected = stock
    if insert is insert_before_head:
        places = [place for place in places if place in (15, 18, 21)] or [15]
    before = deepcopy(config)
    extended, row_map = insert(config, dict.fromkeys(places, IDENTITY))
    assert config == before
    assert len(rows_of(extended)) == 23 + len(places)
    assert len(row_map) == 23
    other = DetectionModel(deepcopy(extended), verbose=False).eval()
    other.load_state_dict(rename_rows(network.state_dict(), row_map), strict=True)
    with torch.no_grad():
        assert torch.equal(other(x)[0], expected)


def test_after_a_row_everybody_reads_the_new_one() -> None:
    # row 4 of yolov8n is read by row 5 and by the concatenation in row 14
    extended, row_map = insert_after(yaml_model_load("yolov8n.yaml"), {4: ["new"]})
    rows = rows_of(extended)
    assert rows[5] == [4, "new"]
    assert rows[row_map[5]][0] == 5
    assert 5 in rows[row_map[14]][0]


def test_before_the_head_only_the_head_reads_the_new_one() -> None:
    # row 15 is read by the downsampling in row 16 and by the head
    extended, row_map = insert_before_head(yaml_model_load("yolov8n.yaml"), {15: ["new"]})
    rows = rows_of(extended)
    assert rows[22] == [15, "new"]
    assert rows[row_map[16]][0] == 15
    assert rows[-1][0] == [22, 18, 21]
    assert row_map == {**{row: row for row in range(22)}, 22: 23}


def test_the_packaged_placement_is_the_plugged_one() -> None:
    stock = yaml_model_load("yolov8n.yaml")
    widths = {15: 256, 18: 512, 21: 1024}
    rows = {row: [1, "MLLABlocks", [width, 32, "zero"]] for row, width in widths.items()}
    ours = rows_of(insert_before_head(stock, rows)[0])
    packaged = model_config("yolov8n-mlla")
    absolute = rows_of(insert_before_head(packaged, {})[0])
    assert ours == absolute


@pytest.mark.parametrize("suffix", ["seg", "pose", "obb"])
def test_only_the_head_differs_between_tasks(suffix: str) -> None:
    detector = model_config("yolov8n-c2f-mlla")
    other = with_task(detector, suffix, stock_config("yolov8", suffix))
    assert rows_of(other)[:-1] == rows_of(detector)[:-1]
    assert rows_of(other)[-1][0] == rows_of(detector)[-1][0]
    # as in the stock YAML of the task
    stock = rows_of(yaml_model_load(f"yolov8n-{suffix}.yaml"))[-1]
    assert rows_of(other)[-1][1:] == stock[1:]


def test_a_classifier_is_scaled_like_the_stock_one() -> None:
    stock = yaml_model_load("yolov8n-cls.yaml")
    ours = with_task(model_config("yolov8n-mlla"), "cls", stock)
    assert ours["scales"] == stock["scales"]
    assert [row[2:] for row in rows_of(ours)] == [row[2:] for row in rows_of(stock)]


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match="task suffix 'depth' is unknown; choose from"):
        with_task(model_config("yolov8n-mlla"), "depth", stock_config("yolov8", "seg"))


def test_equal_configurations_match_row_by_row() -> None:
    config = model_config("yolov8n-mlla")
    assert matching_rows(config, config) == {row: row for row in range(26)}


def test_rows_of_yolov8_match_across_inserted_ones() -> None:
    stock, ours = yaml_model_load("yolov8n.yaml"), model_config("yolov8n-mlla")
    assert matching_rows(stock, ours) == {**{row: row for row in range(22)}, 22: 25}
    assert matching_rows(ours, stock) == {**{row: row for row in range(22)}, 25: 22}


def test_a_replaced_stage_matches_the_stage_it_replaced() -> None:
    stock, ours = yaml_model_load("yolov8n.yaml"), model_config("yolov8n-c2f-mlla")
    assert matching_rows(stock, ours) == {row: row for row in range(23)}


def test_only_the_parser_reads_configurations() -> None:
    # a name that stands for a local variable of the parser would be replaced by its value
    reserved = set(tasks.parse_model.__code__.co_varnames)
    words = [a for row in rows_of(model_config("yolov8n-mlla-tiny")) for a in row[3]]
    assert not {word for word in words if isinstance(word, str)} & (reserved - {"nc"})
    assert not {"mlla", "zero", "none"} & reserved
