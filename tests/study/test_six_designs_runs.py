"""Runs of the six-designs study: trained, interrupted, gone on with, and a whole small study."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("accelerate")
pytest.importorskip("filelock")
from made_up_six_designs import request, write_images

from mlla.study.runs import worker
from mlla.study.runs.run_folder import epochs_done, prepare_run, read_outcome, run_state
from mlla.study.six_designs import compare_six_designs
from mlla.study.six_designs.image_folders import IMAGES, read_images
from mlla.study.six_designs.plan import started
from mlla.study.six_designs.row_runs import make_job
from mlla.study.six_designs.row_task import RowTask

MICRO = {"dim": 8, "depths": (1, 1), "num_heads": (1, 2), "head_dim": 4, "img_size": 16}


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    images = read_images(write_images(folder / "cells", 10), near_duplicates=False, quiet=True)
    images.write(folder / IMAGES)
    return started(request(["forget_gate", "no_norm"], 2), images, folder)


def job(plan: dict[str, Any], row: str, seed: int) -> dict[str, Any]:
    """Return the job of a row, of a smaller network."""
    return {**make_job(plan, row, seed), "model_args": MICRO}


def run(plan, folder: Path, row: str, seed: int) -> Path:
    prepare_run(folder, job(plan, row, seed))
    assert worker.work_on(folder) == worker.DONE_CODE
    return folder


@pytest.fixture(scope="module")
def finished(plan, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {
        (row, seed): run(plan, root / f"{row}-{seed}", row, seed)
        for row, seed in (("forget_gate", 0), ("no_norm", 0), ("no_norm", 1))
    }


def test_a_run_leaves_scores_of_the_test_images_and_measures(plan, finished):
    folder = finished["forget_gate", 0]
    outcome = read_outcome(folder)
    assert (outcome.arm, outcome.seed, outcome.epochs, outcome.checkpoint) == (
        "forget_gate", 0, 2, "best",
    )  # fmt: skip
    with np.load(folder / "predictions.npz") as found:
        names = set(found["images"].tolist())
        assert found["logits"].shape == (len(names), 2)
    assert len(names) == plan["data"]["splits"]["test"]["images"]
    assert all(name.startswith("test/") for name in names)
    measures = json.loads((folder / "measures.json").read_text())
    assert len(measures["forget_gate_averages"]) == len(measures["token_length_deviations"]) == 2
    assert all(0 < gate < 1 for gate in measures["forget_gate_averages"])
    assert not (folder / "training" / "state.pt").exists()


def test_rows_of_a_seed_see_the_same_and_seeds_do_not(finished):
    seen = {key: read_outcome(folder).seen for key, folder in finished.items()}
    assert len(seen["no_norm", 0]) == 2
    assert seen["no_norm", 0] == seen["forget_gate", 0]
    assert seen["no_norm", 0] != seen["no_norm", 1]
    assert seen["no_norm", 0][0] != seen["no_norm", 0][1]


def test_an_interrupted_run_ends_as_if_it_had_not_been(plan, finished, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    prepare_run(folder, job(plan, "no_norm", 0))
    whole, calls = RowTask.loss, []

    def stop_in_the_second_epoch(self, model, batch, moment):
        calls.append(moment.epoch)
        if calls.count(1) == 2:
            raise KeyboardInterrupt
        return whole(self, model, batch, moment)

    with monkeypatch.context() as patch:
        patch.setattr(RowTask, "loss", stop_in_the_second_epoch)
        assert worker.work_on(folder) == worker.INTERRUPTED_CODE
    assert (run_state(folder), epochs_done(folder)) == ("interrupted", 1)
    assert worker.work_on(folder) == worker.DONE_CODE
    first, second = read_outcome(finished["no_norm", 0]), read_outcome(folder)
    assert second.seen == first.seen
    assert second.start_sha256 == first.start_sha256
    for name in ("training/best/model.safetensors", "predictions.npz"):
        assert (folder / name).read_bytes() == (finished["no_norm", 0] / name).read_bytes()


def test_a_run_that_fails_says_why(plan, tmp_path):
    folder = tmp_path / "run"
    prepare_run(folder, {**job(plan, "no_norm", 0), "data": str(tmp_path / "nowhere")})
    assert worker.work_on(folder) == worker.FAILED_CODE
    assert "nowhere" in json.loads((folder / "failure.json").read_text())["error"]


@pytest.mark.slow
def test_a_whole_small_study(tmp_path, capsys):
    arguments = {
        "rows": ["baseline", "no_norm"],
        "seeds": 1,
        "epochs": 1,
        "batch": 8,
        "image_size": 32,
        "device": "cpu",
        "workers": 2,
        # to the search all noise of so few pixels is alike
        "near_duplicates": False,
    }
    source = write_images(tmp_path / "cells", 20)
    results = compare_six_designs(source, out=tmp_path / "out", **arguments)
    states = {one["name"]: one["state"] for one in results["guards"]}
    for name in ("seed_changes_result", "seed_reproduces_result", "same_data_order", "one_version"):
        assert states[name] == "passed", name
    assert [len(row["runs"]) for row in results["rows"]] == [1, 1]
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    capsys.readouterr()
    # the same command changes nothing, and more seeds go on
    assert compare_six_designs(source, out=tmp_path / "out", **arguments) == results
    assert "2 of them done" in capsys.readouterr().out
    more = compare_six_designs(source, out=tmp_path / "out", **{**arguments, "seeds": 2})
    assert [len(row["runs"]) for row in more["rows"]] == [2, 2]
    assert more["rows"][0]["runs"][:1] == results["rows"][0]["runs"]
