"""One run from its job to its outcome, and through everything that can stop it."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ultralytics")
pytest.importorskip("filelock")
import torch
from filelock import FileLock

from mlla.data import write_demo
from mlla.study.planning.arms import Arm
from mlla.study.runs import detector_run, worker
from mlla.study.runs.private_settings import use_private_settings
from mlla.study.runs.run_folder import (
    epochs_done,
    execute,
    prepare_run,
    read_outcome,
    run_state,
)
from mlla.study.scoring.ground_truth import read_ground_truth

EPOCHS, NUM_IMAGES = 3, 14
BASELINE = Arm("yolov8n", "baseline", "yolov8n.yaml")
VARIANT = Arm("yolov8n+mlla@neck", "variant", "yolov8n.yaml", "mlla", "neck", "zero")
# fmt: off
SETTINGS = {
    "epochs": EPOCHS, "imgsz": 32, "batch": 4, "nbs": 8, "warmup_epochs": 0, "close_mosaic": 1,
    "optimizer": "AdamW", "lr0": 0.002, "momentum": 0.9, "patience": 0, "deterministic": True,
    "device": "cpu", "amp": False, "plots": False, "verbose": False,
}
# fmt: on
OFFLINE = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    return write_demo(folder, num_images=NUM_IMAGES, image_size_px=96, quiet=True)


@pytest.fixture
def private_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let the settings of Ultralytics be in a folder of this test."""
    folder = tmp_path / "settings"
    folder.mkdir()
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(folder))
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    return folder


def job(data: Path, arm: Arm = VARIANT, **changes: Any) -> dict[str, Any]:
    return {
        "arm": arm.to_dict(),
        "baseline": BASELINE.to_dict(),
        "seed": 0,
        "data": str(data),
        "num_classes": len(read_ground_truth(data, "val").coco["categories"]),
        "scored": "val",
        "checkpoint": "last",
        "pretrained": None,
        "settings": SETTINGS,
        "threads": 1,
        "predict": True,
        **changes,
    }


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train one run in a process of its own."""
    folder = tmp_path_factory.mktemp("study") / "run"
    prepare_run(folder, job(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("settings")))
        for name, value in OFFLINE.items():
            patch.setenv(name, value)
        result = execute(str(folder))
    assert result["state"] == "done", (folder / "log.txt").read_text()
    return folder


def detections(folder: Path) -> list[dict[str, Any]]:
    return json.loads(gzip.decompress((folder / "predictions.json.gz").read_bytes()))


# -- a run that nothing disturbs ---------------------------------------------------------------


def test_the_outcome_says_what_was_trained(finished: Path) -> None:
    found = read_outcome(finished)
    assert (found.arm, found.seed, found.epochs, found.attempts) == (VARIANT.name, 0, EPOCHS, 1)
    assert (found.checkpoint, found.checkpoint_epoch) == ("last", EPOCHS)
    # those of yolov8n, as Ultralytics counts them
    assert found.counts["shared_with_baseline"] == found.counts["baseline_tensors"] == 355
    assert found.counts["tensors"] > 355
    weights = torch.load(finished / "weights" / "last.pt", weights_only=False)["model"]
    assert found.counts["tensors"] == len(weights.state_dict())
    assert found.parameters == sum(parameter.numel() for parameter in weights.parameters())
    assert found.seen == [json.loads(line)["digest"] for line in _lines(finished / "seen.jsonl")]
    assert found.train_seconds > 0
    assert found.peak_memory_bytes > 1e8
    assert {"mlla", "ultralytics", "torch", "numpy", "python"} <= found.versions.keys()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_folder_is_that_of_an_ordinary_run(finished: Path) -> None:
    files = {file.relative_to(finished).as_posix() for file in finished.rglob("*")}
    kept = {"args.yaml", "results.csv", "weights", "weights/best.pt", "weights/last.pt"}
    ours = {"job.json", "log.txt", "attempts.txt", "seen.jsonl", "predictions.json.gz", ".lock"}
    assert files == {*kept, *ours, "outcome.json"}
    assert _lines(finished / "log.txt")[-1] == "done: outcome.json is written"


def test_predictions_are_those_of_the_checkpoint(finished: Path, data: Path) -> None:
    from mlla.study.scoring.predictions import predict
    from mlla.yolo import YOLO

    images = read_ground_truth(data, "val").images
    model = YOLO(str(finished / "weights" / "last.pt"))
    expected = predict(model, images, imgsz=SETTINGS["imgsz"], device="cpu")
    found = detections(finished)
    assert [f["image_id"] for f in found] == [e["image_id"] for e in expected]
    np.testing.assert_allclose(
        [f["score"] for f in found], [e["score"] for e in expected], atol=1e-5
    )


def test_a_complete_run_is_left_alone(finished: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*") if file.is_file()}
    assert execute(str(finished))["state"] == "done"
    kept = [file for file in before if file.name not in (".lock", "log.txt")]
    assert {file: file.stat().st_mtime_ns for file in kept} == {f: before[f] for f in kept}


# -- failures ----------------------------------------------------------------------------------


@pytest.fixture
def run_here(private_settings: Path, data: Path, tmp_path: Path) -> Callable[..., tuple[int, Path]]:
    """Train in this process, which saves the time to import everything."""

    folder = tmp_path / "run"

    def run(**changes: Any) -> tuple[int, Path]:
        prepare_run(folder, job(data, **changes))
        return worker.work_on(folder), folder

    return run


def failure_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "failure.json").read_text())


def test_a_full_disk_is_told_and_what_was_trained_is_kept(
    run_here: Any, finished: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    from mlla.yolo import repeatable

    save = repeatable.save_state

    def full(path: Path, state: dict[str, Any]) -> None:
        if state["epochs"] == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(path, state)

    with monkeypatch.context() as patch:
        patch.setattr(repeatable, "save_state", full)
        code, folder = run_here()
    assert code == 3
    assert run_state(folder) == "failed"
    error = failure_of(folder)["error"]
    assert "No space left on device" in error
    assert f"free some space on the disk of {folder}, and the run goes on" in error
    assert "save_model" in failure_of(folder)["traceback"]
    last = capfd.readouterr().err.splitlines()[-1]
    assert last == f"failed: {failure_of(folder)['error']}"
    assert epochs_done(folder) == 1
    # with room again it goes on, and nothing is different
    assert run_here() == (0, folder)
    assert not (folder / "failure.json").exists()
    found, expected = read_outcome(folder), read_outcome(finished)
    assert found.attempts == 2
    assert found.seen == expected.seen
    assert found.start_sha256 == expected.start_sha256
    same = "predictions.json.gz"
    assert found.files[same] == expected.files[same]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("first line\nsecond line"), "RuntimeError: first line"),
        (MemoryError("a batch does not fit"), "MemoryError: a batch does not fit"),
        # as libraries leave that mean it well
        (SystemExit("no such data"), "SystemExit: no such data"),
    ],
)
def test_every_error_is_written_down(
    run_here: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(detector_run, "train", fail)
    code, folder = run_here()
    assert code == 3
    assert failure_of(folder)["error"] == line
    assert failure_of(folder)["attempt"] == 1
    run_here()
    assert failure_of(folder)["attempt"] == 2


def test_ctrl_c_is_no_failure(run_here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(detector_run, "train", stop)
    code, folder = run_here()
    assert code == 130
    assert run_state(folder) == "interrupted"


def test_a_broken_model_is_told(run_here: Any) -> None:
    arm = Arm("missing", "variant", "yolov8n-nowhere.yaml")
    _, folder = run_here(arm=arm)
    assert "yolov8n-nowhere.yaml" in failure_of(folder)["error"]


def test_two_workers_do_not_meet(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setattr(worker, "LOCK_TIMEOUT_S", 0.1)
    prepare_run(tmp_path / "run", job(data))
    with FileLock(tmp_path / "run" / ".lock"):
        assert worker.work_on(tmp_path / "run") == 4
    assert "another process is training" in capfd.readouterr().err
    assert run_state(tmp_path / "run") == "new"


# -- surroundings ------------------------------------------------------------------------------


def test_settings_of_the_user_are_copied_and_stay(
    private_settings: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for part in ("settings.json", "Ultralytics/settings.json", "Ultralytics/Arial.ttf"):
        (private_settings / part).parent.mkdir(exist_ok=True)
        (private_settings / part).write_text(part)
    use_private_settings(tmp_path / "copy")
    assert os.environ["YOLO_CONFIG_DIR"] == str(tmp_path / "copy")
    for part in ("settings.json", "Ultralytics/settings.json", "Ultralytics/Arial.ttf"):
        assert (tmp_path / "copy" / part).read_text() == part


@pytest.mark.skipif(sys.platform != "linux", reason="where settings are kept on Linux")
def test_settings_are_found_where_ultralytics_keeps_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("YOLO_CONFIG_DIR", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "Ultralytics").mkdir()
    (tmp_path / "Ultralytics" / "settings.json").write_text("mine")
    use_private_settings(tmp_path / "copy")
    # before 8.4 it does not look into a subfolder
    for part in ("settings.json", "Ultralytics/settings.json"):
        assert (tmp_path / "copy" / part).read_text() == "mine"
    monkeypatch.setenv("YOLO_CONFIG_DIR", "")


# -- kills -------------------------------------------------------------------------------------


def start_execute(folder: Path) -> subprocess.Popen[str]:
    call = f"print(execute({str(folder)!r})['state'])"
    code = f"from mlla.study.runs.run_folder import execute; {call}"
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["parent", "worker", "both"])
@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_a_kill_changes_nothing(
    data: Path,
    finished: Path,
    private_settings: Path,
    tmp_path: Path,
    victim: str,
    signal_name: str,
) -> None:
    import psutil

    folder = tmp_path / "run"
    prepare_run(folder, job(data))
    parent = start_execute(folder)
    wait_for(lambda: epochs_done(folder) >= 1)
    (child,) = psutil.Process(parent.pid).children()
    for process in {"parent": [parent], "worker": [child], "both": [parent, child]}[victim]:
        os.kill(process.pid, getattr(signal, signal_name))
    parent.wait(timeout=60)
    # nobody is left behind
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
    assert run_state(folder) in ("interrupted", "failed")
    assert execute(str(folder))["state"] == "done"
    found, expected = read_outcome(folder), read_outcome(finished)
    assert (found.seen, found.attempts) == (expected.seen, 2)
    assert found.files["predictions.json.gz"] == expected.files["predictions.json.gz"]
