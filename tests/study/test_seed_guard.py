"""The trial runs before a study, and what follows from them."""

import pytest

from mlla.data import write_demo
from mlla.study.guards import seed_guard
from mlla.study.guards.plan_guards import NAMES
from mlla.study.guards.seed_guard import judge_trials, trial_runs
from mlla.study.planning.arms import Arm
from mlla.study.planning.dataset import read_lists, read_study_data
from mlla.study.planning.settings import complete_settings
from mlla.study.runs.executors import LocalExecutor, opened
from mlla.study.runs.progress import Progress, Watched
from mlla.study.runs.run_folder import Outcome
from mlla.study.runs.training_runs import train_runs


@pytest.fixture
def plan(tmp_path):
    yaml = write_demo(tmp_path / "set", num_images=60, image_size_px=96, quiet=True)
    data = read_study_data(yaml, near_duplicates=False, quiet=True)
    folder = tmp_path / "study" / "data"
    folder.mkdir(parents=True)
    data.write(folder)
    given = {"epochs": 7, "imgsz": 32, "batch": 2, "device": "cpu"}
    return {
        "arms": [Arm("yolov8n", "baseline", "yolov8n.yaml").to_dict()],
        "data": data.to_dict(folder),
        "checkpoint": "best",
        "pretrained": None,
        "threads": 1,
        "settings": {**complete_settings(given, num_classes=len(data.names)), "workers": 0},
    }


def test_trials_are_one_epoch_of_few_images_spread_over_the_lists(plan, tmp_path):
    runs = trial_runs(plan, tmp_path / "study")
    assert [(run.folder.name, run.seed) for run in runs] == [
        ("first", 0),
        ("again", 0),
        ("other", 1),
    ]
    assert {run.job["settings"]["epochs"] for run in runs} == {1}
    assert {run.job["arm"]["name"] for run in runs} == {"yolov8n"}
    few = read_lists(runs[0].job["data"])
    whole = read_lists(plan["data"]["study_yaml"])
    # sixteen, since four batches of two are fewer
    assert (len(few["train"]), len(few["val"])) == (16, len(whole["val"]))
    places = [whole["train"].index(image) for image in few["train"]]
    assert max(places) - min(places) > len(whole["train"]) / 2
    # everything else is as in the study
    for key in ("imgsz", "batch", "optimizer", "lr0", "mosaic"):
        assert runs[0].job["settings"][key] == plan["settings"][key]


def outcome(folder, seen):
    values = ("yolov8n", 0, {}, "", [seen], 1, 1.0, 1, 1, "process", "last", 1, 1, {}, "cpu", {})
    return Outcome(folder, *values)


def judged(tmp_path, monkeypatch, plan, weights, seen):
    """Judge trials that left these weights and saw these images."""
    outcomes = {name: outcome(tmp_path / name, seen[name]) for name in weights}
    monkeypatch.setattr(seed_guard, "read_outcome", lambda folder: outcomes[folder.name])
    monkeypatch.setattr(seed_guard, "_weights_digest", lambda folder: weights[folder.name])
    guards = judge_trials(trial_runs(plan, tmp_path / "study"))
    assert all(guard["name"] in NAMES and guard["zh"] != guard["en"] for guard in guards)
    return [guard["state"] for guard in guards]


SAME, ANY = ("x", "x", "x"), ("x", "x", "y")


@pytest.mark.parametrize(
    ("weights", "seen", "states"),
    [
        (ANY, ANY, ["passed", "passed"]),
        # as before Ultralytics 8.4.124, when loader processes ignored the seed
        (ANY, SAME, ["failed", "passed"]),
        (SAME, SAME, ["failed", "passed"]),
        (("x", "z", "y"), ANY, ["passed", "warning"]),
        (("x", "z", "y"), ("x", "z", "y"), ["passed", "failed"]),
    ],
)
def test_what_trials_mean(tmp_path, monkeypatch, plan, weights, seen, states):
    names = ("first", "again", "other")
    pairs = [dict(zip(names, values, strict=True)) for values in (weights, seen)]
    assert judged(tmp_path, monkeypatch, plan, *pairs) == states


@pytest.mark.slow
def test_real_trials_show_that_seeds_are_replications(plan, tmp_path):
    runs = trial_runs(plan, tmp_path / "study")
    watched = [Watched(run.label, run.folder) for run in runs]
    with Progress(watched, 1) as progress, opened(LocalExecutor([{}])) as executor:
        assert train_runs(runs, executor, progress) == {}
    assert [guard["state"] for guard in judge_trials(runs)] == ["passed", "passed"]
