"""Existing runs as an arm of a study."""

import gzip
import json
import shutil

import numpy as np
import pytest
import torch
from run_folders import network, write_run

from mlla.data import write_demo
from mlla.study.audit import differences_from_plan, read_existing_runs, write_added_run
from mlla.study.planning.dataset import read_study_data
from mlla.study.runs.run_folder import read_outcome

SEEDS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_demo(
        tmp_path_factory.mktemp("data") / "demo", num_images=60, image_size_px=96, quiet=True
    )


@pytest.fixture(scope="module")
def plan(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study_data = read_study_data(data, near_duplicates=False, quiet=True)
    study_data.write(folder)
    settings = {"epochs": 3, "imgsz": 64, "batch": 8, "optimizer": "AdamW", "lr0": 0.001}
    return {
        "data": study_data.to_dict(folder),
        "checkpoint": "best",
        "seeds": SEEDS,
        "settings": {**settings, "amp": True, "device": "cpu"},
        "versions": {"ultralytics": "8.4.190"},
    }


@pytest.fixture
def write(tmp_path, data):
    """Return a function that writes one run of six classes for each score."""

    def runs(*lasts, **changes):
        for number, last in enumerate(lasts):
            arguments = {"data": str(data), "seed": number, "made": network(nc=6), **changes}
            write_run(tmp_path / "old" / f"train{number}", (0.1, 0.2, last), **arguments)
        return f"mine:{tmp_path / 'old'}"

    return runs


def test_runs_keep_their_seeds_where_the_study_has_them(write):
    added = read_existing_runs(write(0.3, 0.4), SEEDS)
    assert (added.arm.name, added.arm.kind, added.arm.model) == ("mine", "added", "yolov8n.yaml")
    assert {seed: run.last_score for seed, run in added.runs.items()} == {0: 0.3, 1: 0.4}


def test_runs_of_other_seeds_are_numbered_through(write, tmp_path, data):
    write(0.3)
    for seed in (43, 42):
        run = tmp_path / "old" / f"late{seed}"
        write_run(run, (0.1, 0.2, seed / 100), seed=seed, data=str(data), made=network(nc=6))
    added = read_existing_runs(f"mine:{tmp_path / 'old'}", SEEDS)
    assert [run.seed for run in added.runs.values()] == [0, 42, 43]
    assert list(added.runs) == [0, 1, 2]


def test_folders_may_be_listed(write, tmp_path):
    write(0.3, 0.4, 0.5)
    folders = f"{tmp_path / 'old' / 'train0'}, {tmp_path / 'old' / 'train2'}"
    assert list(read_existing_runs(f"mine:{folders}", SEEDS).runs) == [0, 2]


@pytest.mark.parametrize("spec", ["mine", "mine:", ":folder", ""])
def test_specs_that_are_not_understood_are_errors(spec):
    with pytest.raises(ValueError, match="write NAME:FOLDER"):
        read_existing_runs(spec, SEEDS)


def test_unusable_runs_are_errors_that_say_why(write, tmp_path, data):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        read_existing_runs("mine:nowhere", SEEDS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no training"):
        read_existing_runs(f"mine:{tmp_path / 'empty'}", SEEDS)
    for name, changes, words in (
        ("short", {"finished": False, "epochs": 9}, "interrupted after 3 of 9"),
        ("bare", {"version": None}, r"no readable weights/best\.pt"),
        ("masks", {"task": "segment"}, "task segment"),
    ):
        folder = write_run(tmp_path / name, data=str(data), **changes)
        with pytest.raises(ValueError, match=words):
            read_existing_runs(f"mine:{folder}", SEEDS)


def test_runs_that_are_no_repetitions_are_errors(write, tmp_path, data):
    spec = write(0.3, 0.4)
    shutil.copytree(tmp_path / "old" / "train0", tmp_path / "old" / "copy")
    with pytest.raises(ValueError, match="old/copy, old/train0 have the same seed"):
        read_existing_runs(spec, SEEDS)
    shutil.rmtree(tmp_path / "old" / "copy")
    run = write_run(tmp_path / "old" / "same", (0.1, 0.2, 0.3), seed=7, made=network(nc=6))
    with pytest.raises(ValueError, match=r"same results\.csv"):
        read_existing_runs(spec, SEEDS)
    shutil.rmtree(run)
    write_run(run, seed=7, made=network((8, 24), nc=6))
    with pytest.raises(ValueError, match="different weights"):
        read_existing_runs(spec, SEEDS)


def test_runs_trained_as_the_study_differ_in_nothing(write, plan):
    assert differences_from_plan(read_existing_runs(write(0.3, 0.4), SEEDS), plan) == {}


def test_every_difference_from_the_plan_is_named(write, plan, tmp_path):
    other = write_demo(tmp_path / "other", num_images=60, image_size_px=96, seed=5, quiet=True)
    changes = {"imgsz": 96, "batch": 4, "version": "8.4.100", "epochs": 9, "data": str(other)}
    spec = write(0.3, 0.4, **changes)
    found = differences_from_plan(read_existing_runs(spec, SEEDS), plan)
    assert found["imgsz"] == [64, 96]
    assert found["batch"] == [8, 4]
    assert found["epochs"] == [3, 9]
    assert found["version of ultralytics"] == ["8.4.190", "8.4.100"]
    assert "other images or labels" in found["images"][1]
    # nine were asked for, and three trained, as in the plan
    assert "epochs trained" not in found


def test_images_that_are_gone_are_named(write, plan):
    added = read_existing_runs(write(0.3, data="gone.yaml"), SEEDS)
    assert "unknown" in differences_from_plan(added, plan)["images"][1]


def test_runs_that_learned_from_scored_images_are_refused(write, plan, data, tmp_path):
    own = data.with_name("all.yaml")
    own.write_text(data.read_text().replace("images/train", "images/test"))
    added = read_existing_runs(write(0.3, data=str(own)), SEEDS)
    with pytest.raises(ValueError, match="test images, on which this study scores, were trained"):
        differences_from_plan(added, plan)


def test_runs_on_data_whose_test_images_the_study_split_off_are_refused(
    write, data, tmp_path, plan
):
    content = data.read_text()
    own = data.with_name("no-test.yaml")
    own.write_text("\n".join(line for line in content.splitlines() if "test" not in line) + "\n")
    folder = tmp_path / "study"
    folder.mkdir()
    split = read_study_data(own, test=0.3, near_duplicates=False, quiet=True)
    split.write(folder)
    added = read_existing_runs(write(0.3, data=str(own)), SEEDS)
    with pytest.raises(ValueError, match=r"were trained on in .*no-test\.yaml"):
        differences_from_plan(added, {**plan, "data": split.to_dict(folder)})


def test_other_classes_are_refused(write, plan):
    added = read_existing_runs(write(0.3, made=network(nc=2)), SEEDS)
    with pytest.raises(ValueError, match="2 classes, and the study has 6"):
        differences_from_plan(added, plan)


def test_an_added_run_leaves_what_a_run_of_the_study_leaves(plan, data, tmp_path):
    pytest.importorskip("ultralytics")
    from mlla.study.scoring.ground_truth import read_ground_truth
    from mlla.study.scoring.predictions import predict
    from mlla.yolo import YOLO

    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml")
    model.model = type(model.model)(model.model.yaml, nc=6, verbose=False)
    scores = (0.1, 0.4, 0.3)
    folder = write_run(tmp_path / "train", scores, seed=42, data=str(data))
    known = {"metrics/mAP50(B)": 0.6, "metrics/mAP50-95(B)": 0.4}
    model.ckpt = {
        "train_args": {"task": "detect", "seed": 42},
        "train_metrics": known,
        "version": "8.4.190",
    }
    for name in ("best.pt", "last.pt"):
        model.save(folder / "weights" / name)
    added = read_existing_runs(f"mine:{folder}", SEEDS)
    out = tmp_path / "out" / "runs" / "mine" / "seed-0"
    write_added_run(added.runs[0], out, plan, "mine", 0, trust=False)
    assert sorted(file.name for file in out.iterdir()) == ["outcome.json", "predictions.json.gz"]
    outcome = read_outcome(out)
    assert (outcome.arm, outcome.seed, outcome.checkpoint, outcome.checkpoint_epoch) == (
        "mine",
        0,
        "best",
        2,
    )
    assert outcome.parameters == sum(p.numel() for p in model.model.parameters())
    assert outcome.train_seconds == 4.5
    assert json.loads((out / "outcome.json").read_text())["existing"]["seed"] == 42
    found = json.loads(gzip.decompress((out / "predictions.json.gz").read_bytes()))
    truth = read_ground_truth(data)
    wanted = predict(YOLO(folder / "weights" / "best.pt"), truth.images, imgsz=64)
    assert len(found) == len(wanted)
    np.testing.assert_allclose(
        [one["bbox"] for one in found], [one["bbox"] for one in wanted], atol=1e-3
    )
