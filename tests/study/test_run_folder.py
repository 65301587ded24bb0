"""The state of a run folder, and how every way a worker can end is told."""

import json
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mlla.study.files import file_digest, write_json
from mlla.study.runs import run_folder
from mlla.study.runs.run_folder import (
    epochs_done,
    execute,
    prepare_run,
    read_outcome,
    run_state,
    stop_workers,
)

JOB: dict[str, Any] = {"arm": {"name": "a"}, "seed": 0, "settings": {"epochs": 3}, "threads": 2}
OUTCOME: dict[str, Any] = {
    "arm": "a",
    "seed": 0,
    "counts": {"tensors": 355},
    "start_sha256": "00",
    "seen": ["11"],
    "epochs": 1,
    "train_seconds": 2.5,
    "attempts": 1,
    "peak_memory_bytes": 100,
    "peak_memory_kind": "process",
    "checkpoint": "best",
    "checkpoint_epoch": 1,
    "parameters": 3,
    "versions": {"torch": "2"},
    "device": "a processor",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    prepare_run(tmp_path / "run", JOB)
    return tmp_path / "run"


@pytest.fixture
def worker_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Let a shell script stand in for the worker; $3 is the run folder."""

    def set_script(script: str) -> None:
        file = tmp_path / "python"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(file))

    return set_script


def complete(folder: Path) -> None:
    (folder / "results.csv").write_text("epoch\n1\n")
    digest = file_digest(folder / "results.csv")
    write_json(folder / "outcome.json", {**OUTCOME, "files": {"results.csv": digest}})


# -- preparing ---------------------------------------------------------------------------------


def test_preparing_again_changes_nothing(folder: Path) -> None:
    before = (folder / "job.json").read_bytes()
    prepare_run(folder, JOB)
    assert (folder / "job.json").read_bytes() == before
    # what JSON makes of it is the same
    prepare_run(folder, {**JOB, "format": 1})


def test_tuples_and_lists_are_the_same_job(tmp_path: Path) -> None:
    prepare_run(tmp_path / "run", {**JOB, "path": ("x",)})
    prepare_run(tmp_path / "run", {**JOB, "path": ["x"]})


def test_another_job_in_the_folder_is_refused(folder: Path) -> None:
    before = (folder / "job.json").read_bytes()
    with pytest.raises(ValueError, match=r"seed is 0, not 1; nothing was changed"):
        prepare_run(folder, {**JOB, "seed": 1})
    with pytest.raises(ValueError, match=r"threads is 2, not None"):
        prepare_run(folder, {key: JOB[key] for key in JOB if key != "threads"})
    assert (folder / "job.json").read_bytes() == before


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("epochs: 3\n")
    with pytest.raises(ValueError, match=r"no job\.json"):
        prepare_run(tmp_path, JOB)
    assert [file.name for file in tmp_path.iterdir()] == ["args.yaml"]


# -- state -------------------------------------------------------------------------------------


def test_state_follows_the_files(folder: Path) -> None:
    assert run_state(folder) == "new"
    assert epochs_done(folder) == 0
    (folder / "attempts.txt").write_text("now\n")
    assert run_state(folder) == "interrupted"
    (folder / "seen.jsonl").write_text('{"epoch": 0}\n{"epoch": 1}\n')
    assert epochs_done(folder) == 2
    write_json(folder / "failure.json", {"error": "x"})
    assert run_state(folder) == "failed"
    complete(folder)
    assert run_state(folder) == "done"


def test_the_outcome_is_what_was_written(folder: Path) -> None:
    complete(folder)
    found = read_outcome(folder)
    assert found.folder == folder
    assert {key: getattr(found, key) for key in OUTCOME} == OUTCOME


def test_an_edited_folder_is_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the run is new"):
        read_outcome(folder)
    complete(folder)
    (folder / "results.csv").write_text("epoch\n2\n")
    with pytest.raises(ValueError, match=r"results\.csv was changed after"):
        read_outcome(folder)
    assert read_outcome(folder, check_files=False).epochs == 1
    (folder / "results.csv").unlink()
    with pytest.raises(ValueError, match=r"results\.csv is missing"):
        read_outcome(folder)
    text = json.loads((folder / "outcome.json").read_text())
    del text["seen"]
    (folder / "outcome.json").write_text(json.dumps(text))
    with pytest.raises(ValueError, match=r"lacks seen"):
        read_outcome(folder)


# -- executing ---------------------------------------------------------------------------------


def test_execute_can_be_sent_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(execute)) is execute


def test_a_complete_run_is_done(folder: Path, worker_does: Any) -> None:
    worker_does('echo said $@ with $OMP_NUM_THREADS threads on $CARD; touch "$3/outcome.json"')
    found = execute(str(folder), device_env={"CARD": "7"})
    assert found == {"folder": str(folder), "state": "done", "error": None}
    log = (folder / "log.txt").read_text()
    assert log == f"said -m mlla.study.runs.worker {folder} --with-parent with 2 threads on 7\n"


@pytest.mark.parametrize(
    ("script", "state", "error"),
    [
        ("exit 130", "interrupted", None),
        ("kill -TERM $$", "interrupted", None),
        ("kill -KILL $$", "failed", "SIGKILL: stopped from outside, or the memory ran out"),
        ("kill -SEGV $$", "failed", "SIGSEGV"),
        ("exit 1", "failed", "left with code 1"),
        # a worker that says it is done, and is not
        ("exit 0", "failed", "left with code 0"),
        ("exit 4", "failed", "another process"),
    ],
)
def test_every_end_is_told(
    folder: Path, worker_does: Any, script: str, state: str, error: str | None
) -> None:
    worker_does(f'echo begun >> "$3/attempts.txt"; {script}')
    found = execute(str(folder))
    assert found["state"] == state
    assert error is None or error in found["error"]
    if "another" not in str(error):
        assert run_state(folder) == state
    if run_state(folder) == "failed":
        failure = json.loads((folder / "failure.json").read_text())
        assert (failure["error"], failure["attempt"]) == (found["error"], 1)
        assert (folder / "log.txt").read_text().endswith(f"failed: {found['error']}\n")


def test_the_error_of_a_failed_worker_is_returned(folder: Path, worker_does: Any) -> None:
    worker_does('echo \'{"format": 1, "error": "ValueError: no"}\' > "$3/failure.json"; exit 3')
    assert execute(str(folder)) == {
        "folder": str(folder),
        "state": "failed",
        "error": "ValueError: no",
    }


def test_a_failure_that_cannot_be_written_is_told(
    folder: Path, worker_does: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    worker_does("exit 3")
    monkeypatch.setattr(run_folder, "write_json", full)
    found = execute(str(folder))
    assert found["state"] == "failed"
    assert "No space left on device" in found["error"]


def test_workers_of_other_threads_can_be_stopped(folder: Path, worker_does: Any) -> None:
    # ends with its input, as the real one does
    worker_does('echo begun >> "$3/attempts.txt"; cat; exit 130')
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(execute(str(folder))))
    thread.start()
    while run_state(folder) == "new":
        time.sleep(0.02)
    stop_workers()
    thread.join(timeout=20)
    assert [result["state"] for result in found] == ["interrupted"]
