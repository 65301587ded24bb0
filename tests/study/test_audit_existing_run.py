"""What a run folder says of its training."""

import math

import pytest
import yaml
from run_folders import copy_real, network, write_checkpoint, write_run

from mlla.study.audit.read_runs import find_run_folders, read_run, read_runs


def read(folder):
    return read_run(folder, folder.parent)


def test_runs_are_found_at_any_depth_and_nothing_else(tmp_path):
    wanted = [
        write_run(tmp_path / "detect" / "train"),
        write_run(tmp_path / "detect" / "train2", version=None),
        write_run(tmp_path / "study" / "runs" / "yolov8n" / "seed-0"),
    ]
    write_run(tmp_path / "study" / "probe" / "seed-0")
    write_run(tmp_path / "detect" / "val", mode="val")
    (tmp_path / "detect" / "predict").mkdir()
    (tmp_path / "detect" / "predict" / "args.yaml").write_text("mode: predict\n")
    (tmp_path / "empty").mkdir()
    # the table of a study beside its plan
    (tmp_path / "study" / "study.json").write_text("{}")
    (tmp_path / "study" / "results.csv").write_text("arm,AP\na,0.3\n")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "results.csv").write_text("model,score\na,0.3\n")
    assert find_run_folders(tmp_path) == sorted(wanted)
    assert [run.name for run in read_runs(wanted[0])] == ["train"]


def test_the_number_of_the_last_and_the_best_epoch(tmp_path):
    run = read(write_run(tmp_path / "train", (0.1, 0.4, 0.3)))
    assert (run.last_score, run.best_score, run.best_row) == (0.3, 0.4, 1)
    assert (run.num_epochs, run.planned_epochs) == (3, 3)
    assert not run.is_interrupted
    assert not run.stopped_early


def test_the_best_epoch_is_the_one_in_the_checkpoint(tmp_path):
    # ultralytics 8.3 chose by 0.1 mAP50 + 0.9 mAP50-95, which was best in epoch 5 here, not in 3
    folder = copy_real("8.3.70-seed-1", tmp_path / "train")
    run = read(folder)
    assert run.best_row == 2
    scores = {
        name: values[4]
        for name, values in run.epochs.columns.items()
        if name.startswith(("metrics/", "val/"))
    }
    write_checkpoint(folder / "weights" / "best.pt", {}, network(), scores=scores)
    run = read(folder)
    assert run.epochs.columns["metrics/mAP50-95(B)"][run.best_row] == run.best_score == 0.00296


def test_an_interrupted_run_is_known_by_its_checkpoint(tmp_path):
    assert read(write_run(tmp_path / "a", epochs=10, finished=False)).is_interrupted
    early = read(write_run(tmp_path / "b", epochs=10, finished=True))
    assert early.stopped_early
    assert not early.is_interrupted


@pytest.mark.parametrize(("patience", "interrupted"), [(2, False), (3, True), (0, True)])
def test_without_weights_patience_tells_whether_it_was_interrupted(patience, interrupted, tmp_path):
    # the best epoch is the first of three
    scores = (0.3, 0.2, 0.1)
    run = read(write_run(tmp_path / "a", scores, version=None, epochs=10, patience=patience))
    assert run.is_interrupted is interrupted
    assert run.stopped_early is not interrupted


def test_the_checkpoint_knows_what_auto_became(tmp_path):
    ran_with = {"optimizer": "AdamW", "batch": 16}
    folder = write_run(tmp_path / "a", optimizer="auto", batch=-1, ran_with=ran_with)
    run = read(folder)
    assert (run.arguments["optimizer"], run.arguments["batch"]) == ("AdamW", 16)
    assert run.written_arguments["optimizer"] == "auto"


def test_a_resumed_run_is_named_after_its_network(tmp_path):
    last = str(tmp_path / "a" / "weights" / "last.pt")
    run = read(write_run(tmp_path / "a", model=last, resume=last))
    assert run.was_resumed
    assert run.model == "yolov8n.yaml"


def test_broken_files_are_problems_and_the_rest_is_read(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "args.yaml").write_text("a: [")
    (folder / "weights" / "best.pt").write_bytes(b"PK cut short")
    (folder / "job.json").write_text("{")
    run = read(folder)
    assert run.last_score == 0.3
    # the other checkpoint knows the arguments
    assert run.seed == 0
    texts = " ".join(run.problems)
    for words in ("args.yaml is not YAML", "weights/best.pt is cut short", "job.json"):
        assert words in texts


def test_an_empty_results_csv_gives_no_score(tmp_path):
    folder = write_run(tmp_path / "a")
    (folder / "results.csv").write_text("")
    run = read(folder)
    assert math.isnan(run.last_score)
    assert math.isnan(run.best_score)
    assert (run.num_epochs, run.best_row) == (0, None)


@pytest.mark.parametrize("content", ["", "- 1\n", "just words\n"])
def test_args_that_are_no_arguments_are_a_problem(content, tmp_path):
    folder = write_run(tmp_path / "a", version=None)
    (folder / "args.yaml").write_text(content)
    run = read(folder)
    assert run.written_arguments == {}
    assert "args.yaml" in run.problems[0]


@pytest.mark.parametrize("release", ["8.3.70", "8.4.190"])
def test_real_runs_of_both_releases_are_read(release, tmp_path):
    folder = copy_real(f"{release}-seed-1", tmp_path / "train")
    run = read(folder)
    written = yaml.safe_load((folder / "args.yaml").read_text())
    assert run.problems == ()
    assert (run.seed, run.planned_epochs, run.num_epochs) == (1, 8, 8)
    assert run.model == written["model"]
    assert not run.is_interrupted
