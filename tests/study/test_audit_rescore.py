"""Weights of existing runs are scored on images that did not choose them."""

import gzip
import json
import shutil

import numpy as np
import pytest
import torch
from run_folders import write_run
from study_folder import BASELINE, IDENTITY, PLUG_VARIANT, write_study_folder

from mlla.data import write_demo
from mlla.study.audit import audit
from mlla.study.files import read_json
from mlla.study.scoring.ground_truth import read_ground_truth
from mlla.study.scoring.score import score
from mlla.study.statistics.comparison import against_baseline, compare_arms

ARMS = [BASELINE, PLUG_VARIANT, IDENTITY]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A made-up study of five seeds, with what a worker is asked in each folder."""
    out = write_study_folder(tmp_path_factory.mktemp("study") / "out", arms=ARMS)
    study_yaml = str(out / "data" / "data.yaml")
    for arm in ARMS:
        for folder in (out / "runs" / arm["name"]).iterdir():
            args = (folder / "args.yaml").read_text()
            (folder / "args.yaml").write_text(f"{args}data: {study_yaml}\nmodel: start.pt\n")
            job = {"arm": arm, "data": study_yaml, "scored": "test", "pretrained": None}
            (folder / "job.json").write_text(json.dumps({"format": 1, **job}))
    return out


def test_stored_predictions_give_the_interval_of_the_study_itself(study):
    report = audit(study, quiet=True)
    plan = read_json(study / "study.json")
    truth = read_ground_truth(plan["data"]["study_yaml"])
    names = [BASELINE["name"], PLUG_VARIANT["name"]]
    runs = {name: {} for name in names}
    for name in names:
        for seed in plan["seeds"]:
            packed = study / "runs" / name / f"seed-{seed}" / "predictions.json.gz"
            predictions = json.loads(gzip.decompress(packed.read_bytes()))
            runs[name][seed] = score(truth.coco, predictions).matches
    (wanted,) = compare_arms(runs, against_baseline(names, names[0]))
    (found,) = report.rescored.values()
    assert found.difference.estimate == pytest.approx(wanted.difference.estimate)
    assert found.difference.low == pytest.approx(wanted.difference.low)
    assert (found.p_value, found.verdict) == (wanted.adjusted_p_value, wanted.verdict)
    assert (found.split, found.checkpoint, found.num_images) == ("test", "best", 60)


def test_a_study_is_audited_by_its_own_words(study):
    report = audit(study, quiet=True)
    # the control explains and claims nothing
    assert [(claim.arm, claim.against) for claim in report.claims] == [
        ("yolov8n+mlla@neck", "yolov8n")
    ]
    assert report.next == read_json(study / "study.json")["command"] + " seeds=5"
    assert not any("start" in fault.title for fault in report.faults)
    assert not any("no control" in finding.title for finding in report.findings)


def test_few_runs_are_scored_without_an_interval(study, tmp_path):
    for arm in ARMS[:2]:
        shutil.copytree(study / "runs" / arm["name"] / "seed-0", tmp_path / arm["name"])
    report = audit(tmp_path, quiet=True)
    (found,) = report.rescored.values()
    assert (found.difference, found.p_value, len(found.arm_scores)) == (None, None, 1)
    assert "without repetitions there is no interval" in " ".join(report.text().split())


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    """Two run folders of untrained detectors, and the demo set they name."""
    pytest.importorskip("ultralytics")
    from mlla.yolo import YOLO

    root = tmp_path_factory.mktemp("detectors")
    data = write_demo(root / "demo", num_images=20, image_size_px=96, quiet=True)
    for name in ("yolov8n", "yolov8n-mlla"):
        torch.manual_seed(0)
        model = YOLO(f"{name}.yaml")
        model.model.yaml["nc"] = 6
        model.model = type(model.model)(model.model.yaml, nc=6, verbose=False)
        arguments = {"model": f"{name}.yaml", "data": str(data), "imgsz": 32}
        folder = write_run(root / "runs" / name, **arguments)
        model.ckpt = {"train_args": {"task": "detect", **arguments}, "version": "8.4.190"}
        for file in ("best.pt", "last.pt"):
            model.save(folder / "weights" / file)
    return root


def test_weights_are_run_and_scored_as_the_library_scores_them(detectors):
    from mlla.study.scoring.predictions import predict
    from mlla.yolo import YOLO

    report = audit(detectors / "runs", quiet=True)
    (found,) = report.rescored.values()
    truth = read_ground_truth(detectors / "demo" / "data.yaml")
    for name, scores in (("yolov8n", found.against_scores), ("yolov8n-mlla", found.arm_scores)):
        weights = detectors / "runs" / name / "weights" / "best.pt"
        wanted = score(truth.coco, predict(YOLO(weights), truth.images, imgsz=32))
        np.testing.assert_allclose(scores, [wanted.summary["AP"]], atol=1e-6)
    assert found.num_images == len(truth.images)


def test_runs_on_different_images_have_no_interval(detectors, tmp_path):
    data = write_demo(tmp_path / "other", num_images=20, image_size_px=96, seed=1, quiet=True)
    shutil.copytree(detectors / "runs", tmp_path / "runs")
    for name in ("args.yaml", "weights/best.pt", "weights/last.pt"):
        file = tmp_path / "runs" / "yolov8n" / name
        if name == "args.yaml":
            text = file.read_text().replace(str(detectors / "demo" / "data.yaml"), str(data))
            file.write_text(text)
        else:
            content = torch.load(file, weights_only=False)
            content["train_args"]["data"] = str(data)
            torch.save(content, file)
    report = audit(tmp_path / "runs", quiet=True)
    assert report.rescored == {}
    (fault,) = (f for f in report.findings if f.title == "interval of the difference")
    assert "data=FILE" in fault.remedy
    assert audit(tmp_path / "runs", data=data, quiet=True).rescored


def test_other_classes_are_not_scored(detectors, tmp_path):
    other = tmp_path / "two.yaml"
    other.write_text(
        f"path: {detectors / 'demo'}\ntrain: images/train\nval: images/val\nnames: [a, b]\n"
    )
    report = audit(detectors / "runs", data=other, quiet=True)
    seen = [f.seen for f in report.findings if f.title == "score of a run"]
    assert len(seen) == 2
    assert "trained for 6 classes" in seen[0]


def test_images_that_a_run_has_learned_are_not_scored(detectors, tmp_path):
    # the same images under other names
    shutil.copytree(detectors / "demo" / "images" / "train", tmp_path / "images" / "test")
    shutil.copytree(detectors / "demo" / "labels" / "train", tmp_path / "labels" / "test")
    names = (detectors / "demo" / "data.yaml").read_text().partition("names:")[2]
    own = tmp_path / "own.yaml"
    own.write_text(
        f"train: {detectors / 'demo' / 'images' / 'train'}\n"
        f"val: {detectors / 'demo' / 'images' / 'val'}\ntest: images/test\nnames:{names}"
    )
    report = audit(detectors / "runs", data=own, quiet=True)
    assert report.rescored == {}
    seen = [f.seen for f in report.findings if f.title == "score of a run"]
    assert "it was trained on 17 of the 17 images to score on" in seen[0]


def test_weights_with_code_of_others_are_run_only_with_consent(detectors, tmp_path):
    shutil.copytree(detectors / "runs", tmp_path / "runs")
    made = tmp_path / "made-by-attack"

    class Attack:
        def __reduce__(self):
            import os

            return os.mkdir, (str(made),)

    for file in (tmp_path / "runs" / "yolov8n" / "weights").iterdir():
        content = torch.load(file, weights_only=False)
        content["model"].extra = Attack()
        torch.save(content, file)
    report = audit(tmp_path / "runs", quiet=True)
    assert not made.exists()
    assert report.rescored == {}
    seen = " ".join(finding.seen for finding in report.findings)
    assert "posix.mkdir" in seen
    assert "trust=True" in seen
    audit(tmp_path / "runs", quiet=True, trust=True)
    assert made.exists()
