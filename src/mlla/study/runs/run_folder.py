"""The folder of one run: what is to be trained, how far it is, and what came out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlla.study.files import file_digest, read_json, write_json

JOB, OUTCOME, FAILURE = "job.json", "outcome.json", "failure.json"
LOG, ATTEMPTS, SEEN, START = "log.txt", "attempts.txt", "seen.jsonl", "start.pt"
PREDICTIONS = "predictions.json.gz"
# what a worker leaves with; any other number is how Python or the system ended it
DONE_CODE, FAILED_CODE, BUSY_CODE, INTERRUPTED_CODE = 0, 3, 4, 130
# asks a worker to end as soon as its standard input does, that is, with the process that started it
WITH_PARENT = "--with-parent"

# the workers that this process started and that have not ended
_running: set[subprocess.Popen[bytes]] = set()
# so that none is missed between its start and its place in the set
_starting = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What outcome.json says about a complete run.

    Attributes:
        folder: The run folder.
        arm: Name of the arm.
        seed: Seed of the run.
        counts: Tensors of the initial weights: "tensors", "shared_with_baseline",
            "baseline_tensors", "pretrained_kept" and "pretrained_tensors".
        start_sha256: Over names and values of the initial weights.
        seen: Digest of the order of images and of the augmented pixels, of each epoch.
        epochs: Epochs trained.
        train_seconds: Time of these epochs with their validation, over all attempts.
        attempts: How often the run was started.
        peak_memory_bytes: The most memory that was in use while training.
        peak_memory_kind: "process" for main memory, "cuda" for that of the graphics card.
        checkpoint: "best" or "last", whichever was to predict.
        checkpoint_epoch: Epochs trained when it was saved, as results.csv counts them.
        parameters: Number of parameters.
        versions: Versions of the software by name.
        device: Name of the processor or graphics card.
        files: SHA-256 of files, by their name relative to the folder.
    """

    folder: Path
    arm: str
    seed: int
    counts: dict[str, int]
    start_sha256: str
    seen: list[str]
    epochs: int
    train_seconds: float
    attempts: int
    peak_memory_bytes: int
    peak_memory_kind: str
    checkpoint: str
    checkpoint_epoch: int | None
    parameters: int
    versions: dict[str, str]
    device: str
    files: dict[str, str]


def prepare_run(folder: str | Path, job: Mapping[str, Any]) -> None:
    """Write down what is to be trained; again, if it is the same, changes nothing.

    Args:
        folder: The run folder; it is made where it does not exist.
        job: Content of job.json.

    Raises:
        ValueError: If the folder was prepared for another job, or holds files of something else.
    """
    folder = Path(folder)
    # as it will be read: tuples become lists
    wanted = {key: value for key, value in json.loads(json.dumps(job)).items() if key != "format"}
    if (folder / JOB).exists():
        found = read_json(folder / JOB)
        found.pop("format")
        if other := [key for key in found | wanted if found.get(key) != wanted.get(key)]:
            differences = (f"{key} is {found.get(key)!r}, not {wanted.get(key)!r}" for key in other)
            raise ValueError(
                f"{folder} was prepared for another run: {', '.join(differences)}; nothing was "
                "changed. Choose another folder, or remove this one"
            )
        return
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(
            f"{folder} holds files but no {JOB}, so it is no run of a study; nothing was changed. "
            "Choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JOB, wanted)


def run_state(folder: str | Path) -> str:
    """Return how far a run is, as its files tell.

    Returns:
        "done"; "failed", if the last attempt ended in an error; "interrupted", if it was started
        and not ended; or "new". A failed or interrupted run goes on from its last whole epoch.
    """
    folder = Path(folder)
    if (folder / OUTCOME).exists():
        return "done"
    if (folder / FAILURE).exists():
        return "failed"
    return "interrupted" if (folder / ATTEMPTS).exists() else "new"


def epochs_done(folder: str | Path) -> int:
    """Return the number of whole epochs that are trained and safe."""
    seen = Path(folder, SEEN)
    return len(seen.read_text(encoding="utf-8").splitlines()) if seen.exists() else 0


def read_outcome(folder: str | Path, *, check_files: bool = True) -> Outcome:
    """Read what came out of a complete run.

    Args:
        folder: The run folder.
        check_files: Whether to compare the files with the digests that were noted.

    Raises:
        FileNotFoundError: If the run is not complete.
        ValueError: If a file of it is missing or was changed since.
    """
    folder = Path(folder)
    path = folder / OUTCOME
    if not path.exists():
        raise FileNotFoundError(f"{folder} has no {OUTCOME}: the run is {run_state(folder)}")
    content = read_json(path)
    names = [field.name for field in fields(Outcome) if field.name != "folder"]
    if missing := [name for name in names if name not in content]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: it was changed by hand; restore it")
    if check_files:
        for name, digest in content["files"].items():
            if not (folder / name).is_file():
                fault = "is missing from a complete run"
            elif file_digest(folder / name) != digest:
                fault = "was changed after the run was complete"
            else:
                continue
            raise ValueError(
                f"{folder / name} {fault}; restore it, "
                f"or remove {folder} to have the run made again"
            )
    return Outcome(folder, **{name: content[name] for name in names})


def execute(folder: str, *, device_env: dict[str, str] | None = None) -> dict[str, Any]:
    """Train a prepared run in a process of its own, from wherever it stopped, and wait for it.

    Executors submit this function. Ctrl-C reaches the process as it reaches its parent; where the
    parent dies, the process ends too, and the run goes on with the next call.

    Args:
        folder: The run folder.
        device_env: Environment variables that choose the device, such as CUDA_VISIBLE_DEVICES.

    Returns:
        "folder"; "state", one of "done", "failed" and "interrupted"; and "error", one line or None.
    """
    path = Path(folder)
    threads = str(read_json(path / JOB)["threads"])
    # with these it would be a part of some other training on several devices
    foreign = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    environment = {**inherited, **limits, "PYTHONHASHSEED": "0", **(device_env or {})}
    with (path / LOG).open("ab") as log:
        with _starting:
            worker = subprocess.Popen(
                [sys.executable, "-m", "mlla.study.runs.worker", str(path), WITH_PARENT],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
            _running.add(worker)
        try:
            code = worker.wait()
        except BaseException:
            _stop(worker)
            worker.wait()
            raise
        finally:
            _running.discard(worker)
            _stop(worker)
    return {"folder": folder, **_result(path, code)}


def stop_workers() -> None:
    """End the workers that wait in other threads of this process; their runs are interrupted."""
    with _starting:
        for worker in tuple(_running):
            _stop(worker)


def record_failure(folder: Path, error: str, traceback: str) -> None:
    """Write failure.json.

    Args:
        folder: The run folder.
        error: What went wrong, in one line.
        traceback: Where, in many; empty if nobody knows.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    attempt = num_attempts(folder)
    content = {"error": error, "traceback": traceback, "attempt": attempt, "time": now}
    write_json(folder / FAILURE, content)


def num_attempts(folder: Path) -> int:
    """Return how often a worker began with this run."""
    attempts = folder / ATTEMPTS
    return len(attempts.read_text(encoding="utf-8").splitlines()) if attempts.exists() else 0


def _stop(worker: subprocess.Popen[bytes]) -> None:
    """Close the input of a worker, which it takes for the death of its parent."""
    if worker.stdin is not None:
        worker.stdin.close()


def _result(folder: Path, code: int) -> dict[str, Any]:
    """Return state and error of a worker that left with a code."""
    if code == DONE_CODE and run_state(folder) == "done":
        return {"state": "done", "error": None}
    if code in (INTERRUPTED_CODE, -signal.SIGINT, -signal.SIGTERM):
        return {"state": "interrupted", "error": None}
    if code == BUSY_CODE:
        return {"state": "failed", "error": f"another process is training in {folder}"}
    if code == FAILED_CODE and run_state(folder) == "failed":
        return {"state": "failed", "error": read_json(folder / FAILURE)["error"]}
    error = f"{_end(code)}; see {folder / LOG}"
    try:
        record_failure(folder, error, "")
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(f"failed: {error}\n")
    except OSError as unwritten:
        error = f"{error} ({unwritten})"
    return {"state": "failed", "error": error}


def _end(code: int) -> str:
    if code >= 0:
        return f"the worker left with code {code}"
    name = signal.Signals(-code).name
    hint = ": stopped from outside, or the memory ran out" if name == "SIGKILL" else ""
    return f"the worker was ended by {name}{hint}"
