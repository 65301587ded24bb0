"""The plan of a study: what may change when the same command is given again."""

import json

import pytest

from mlla.study.planning.arms import Arm
from mlla.study.planning.plan import continued, read_plan, started, write_plan
from mlla.study.planning.plan_text import plan_text
from mlla.study.planning.request import check_choices, command_of, make_request

BASELINE = Arm("yolov8n", "baseline", "yolov8n.yaml")
VARIANT = Arm("yolov8n+mlla@neck", "variant", "yolov8n.yaml", "mlla", "neck", "zero")
COUNTS = {
    "parameters": 3_000_000,
    "tensors": 355,
    "shared_with_baseline": 355,
    "baseline_tensors": 355,
    "pretrained_kept": 300,
    "pretrained_tensors": 355,
}
SETTINGS = {
    "epochs": 3,
    "imgsz": 64,
    "batch": 8,
    "optimizer": "AdamW",
    "lr0": 0.001,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "device": "cpu",
}


def request(tmp_path, **changes):
    asked = {
        "command": "mlla compare ...",
        "arms": [BASELINE, VARIANT],
        "num_seeds": 5,
        "data": tmp_path / "data.yaml",
        "test": None,
        "near_duplicates": True,
        "checkpoint": "last",
        "pretrained": None,
        "settings": SETTINGS,
        "margin": 0.005,
        "threads": 1,
    }
    return make_request(**{**asked, **changes})


@pytest.fixture
def plan(tmp_path):
    data = {
        "yaml": str(tmp_path / "data.yaml"),
        "study_yaml": str(tmp_path / "out" / "data" / "data.yaml"),
        "names": ["a", "b"],
        "splits": {"train": {"images": 9, "sha256": "0"}, "val": {"images": 3, "sha256": "1"}},
        "scored": "val",
        "made_split": None,
    }
    counts = {arm.name: COUNTS for arm in (BASELINE, VARIANT)}
    return started(request(tmp_path), data=data, counts=counts, guards=[])


@pytest.fixture
def out(tmp_path, plan):
    folder = tmp_path / "out"
    folder.mkdir()
    write_plan(folder, plan)
    return folder


def test_a_plan_comes_back_as_written(out, plan):
    assert read_plan(out) == {**plan, "format": 1}
    assert read_plan(out.parent) is None


def test_the_same_request_goes_on_with_the_same_plan(tmp_path, plan, out):
    assert continued(plan, request(tmp_path), out) == plan
    # how many run at a time, and with it their threads, is not part of the question
    assert continued(plan, request(tmp_path, threads=2), out)["threads"] == 1


def test_more_seeds_extend_it_and_leave_a_trace(tmp_path, plan, out):
    extended = continued(plan, request(tmp_path, num_seeds=8), out)
    assert extended["seeds"] == [0, 1, 2, 3, 4, 5, 6, 7]
    assert [(e["from"], e["to"]) for e in extended["extensions"]] == [(5, 8)]
    assert {g["name"]: g["state"] for g in extended["guards"]} == {"enough_seeds": "passed"}
    assert extended["created"] == plan["created"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_seeds": 3}, "has 5, and choosing among finished runs would falsify it"),
        ({"arms": [BASELINE]}, r"its arms are yolov8n, yolov8n\+mlla@neck, not yolov8n\."),
        ({"arms": [BASELINE, Arm(**{**vars(VARIANT), "gate": "none"})]}, "built otherwise"),
        ({"test": 0.2}, "its test is None, not 0.2"),
        ({"margin": 0.01}, "its margin is 0.005, not 0.01"),
        ({"checkpoint": "best"}, "its checkpoint is last, not best"),
        ({"near_duplicates": False}, "its near_duplicates is True, not False"),
        ({"settings": {**SETTINGS, "epochs": 4}}, "its epochs is 3, not 4"),
        ({"settings": {**SETTINGS, "box": 7}}, "its box is None, not 7"),
    ],
)
def test_another_question_is_refused_with_the_difference(tmp_path, plan, out, changes, message):
    with pytest.raises(ValueError, match=message):
        continued(plan, request(tmp_path, **changes), out)


def test_other_data_is_refused(tmp_path, plan, out):
    with pytest.raises(ValueError, match=r"its data is .*data.yaml, not .*other.yaml"):
        continued(plan, request(tmp_path, data=tmp_path / "other.yaml"), out)


def test_another_version_of_what_trains_is_refused(tmp_path, plan, out):
    asked = request(tmp_path)
    asked["versions"]["torch"] = "1.0"
    with pytest.raises(ValueError, match=r"begun with torch .*, and 1.0 is installed now"):
        continued(plan, asked, out)
    asked = request(tmp_path)
    asked["versions"]["numpy"] = "1.0"
    assert continued(plan, asked, out)


def test_a_changed_file_of_the_user_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("class Block: ...\n")
    (tmp_path / "model.yaml").write_text("nc: 1\n")
    mine = Arm("m", "variant", "yolov8n.yaml", "mine:Block", "neck", "zero", None, (str(tmp_path),))
    own = Arm("model", "variant", str(tmp_path / "model.yaml"))
    arms = {"arms": [BASELINE, mine, own]}
    plan = started(request(tmp_path, **arms), data={"study_yaml": ""}, counts={}, guards=[])
    assert continued(plan, request(tmp_path, **arms), tmp_path)
    for name in ("mine.py", "model.yaml"):
        before = (tmp_path / name).read_text()
        (tmp_path / name).write_text(f"{before}# better\n")
        with pytest.raises(ValueError, match=f"{name} was changed since"):
            continued(plan, request(tmp_path, **arms), tmp_path)
        (tmp_path / name).write_text(before)


def test_a_moved_study_is_refused(out):
    out.rename(out.with_name("elsewhere"))
    with pytest.raises(ValueError, match=r"was made in .*out and its runs name that place"):
        read_plan(out.with_name("elsewhere"))


def test_a_plan_edited_into_nonsense_is_refused(out):
    (out / "study.json").write_text((out / "study.json").read_text()[:-20])
    with pytest.raises(ValueError, match="restore it"):
        read_plan(out)


def test_the_text_names_arms_images_checkpoint_and_number_of_runs(plan, out):
    text = plan_text(plan, out, num_done=4, where="2 at a time", disk_bytes=5e6)
    for part in (
        "images: train 9, val 3",
        "last.pt is scored on val: there is no test split",
        "3 epochs at 64 px, batch 8, AdamW with lr0 0.001, from scratch, device cpu",
        "3,000,000 parameters, starts with 355 of 355 tensors of the baseline",
        "2 arms x 5 seeds = 10, 4 of them done; 2 at a time; up to 5 MB of disk",
    ):
        assert part in text


def test_the_words_of_the_command_ask_for_the_same():
    arguments = {
        "data": "my data.yaml",
        "models": ["a", "b"],
        "seeds": 5,
        "margin": 0.01,
        "add": ["x:f,g", "y:h"],
        "lr0": 0.01,
    }
    defaults = {"seeds": 5, "margin": 0.005, "add": ()}
    assert command_of(arguments, defaults) == (
        "mlla compare 'data=my data.yaml' models=a,b margin=0.01 'add=x:f,g;y:h' lr0=0.01"
    )


CHOICES = {
    "seeds": 5,
    "margin": 0.005,
    "checkpoint": None,
    "test": None,
    "language": "en",
    "runtimes": ["torch"],
    "executor": "local",
    "workers": None,
    "loader_workers": None,
    "pretrained": None,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds=0 must be the number of runs of each arm, 1 or more"),
        ({"seeds": "five"}, "seeds='five' must be the number"),
        ({"seeds": 2.5}, "seeds=2.5"),
        ({"margin": 0}, "margin=0 must be the smallest gain"),
        ({"margin": 0.5, "test": 1}, "test=1 must be a share"),
        ({"checkpoint": "first"}, "checkpoint='first' is unknown; choose from best, last"),
        ({"language": "de"}, "language='de' is unknown; choose from en, zh"),
        ({"runtimes": ["tensorrt"]}, "tensorrt"),
        ({"executor": "slurm", "workers": 2}, "workers= is the number of runs at a time on this"),
        ({"loader_workers": -1}, "loader_workers=-1"),
    ],
)
def test_choices_that_make_no_sense_are_refused(changes, message):
    check_choices(CHOICES)
    with pytest.raises(ValueError, match=message):
        check_choices({**CHOICES, **changes})


def test_json_holds_the_plan(out):
    assert json.loads((out / "study.json").read_text())["arms"][1]["name"] == VARIANT.name
