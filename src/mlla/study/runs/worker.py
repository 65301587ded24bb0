"""Trains one run in a process of its own: `python -m mlla.study.runs.worker RUN_FOLDER`.

It goes on from wherever an earlier attempt stopped, and may be killed at any moment.
"""

from __future__ import annotations

import _thread
import errno
import faulthandler
import gzip
import io
import json
import os
import platform
import shutil
import signal
import sys
import threading
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from mlla.study.files import file_digest, read_json, write_json, write_whole
from mlla.study.planning.arms import Arm, search_blocks_in
from mlla.study.runs.private_settings import use_private_settings
from mlla.study.runs.run_folder import (
    ATTEMPTS,
    BUSY_CODE,
    DONE_CODE,
    FAILED_CODE,
    FAILURE,
    INTERRUPTED_CODE,
    JOB,
    OUTCOME,
    PREDICTIONS,
    START,
    WITH_PARENT,
    epochs_done,
    num_attempts,
    record_failure,
    run_state,
)

# an earlier worker whose parent was killed needs a moment to end
LOCK_TIMEOUT_S = 60
# for an orderly end, which loggers like
GRACE_S = 10
PACKAGES = ("mlla", "ultralytics", "torch", "numpy", "hotcoco")
NAMED_FILES = (JOB, "args.yaml", "results.csv", "seen.jsonl", "weights/best.pt", "weights/last.pt")
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_PRIVATE_SETTINGS = ".ultralytics"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the run in a folder.

    Args:
        arguments: The folder, and `--with-parent` if the process is to end with its input; by
            default those of the command line.

    Returns:
        The exit code: 0 done, 3 failed, 4 another process is at it, 130 interrupted.
    """
    parser = ArgumentParser(prog="python -m mlla.study.runs.worker", description="Train one run.")
    parser.add_argument("folder", type=Path, help=f"a run folder, which holds {JOB}")
    parser.add_argument(WITH_PARENT, action="store_true", help="end when the input ends")
    given = parser.parse_args(arguments)
    if not (given.folder / JOB).is_file():
        parser.error(f"{given.folder} holds no {JOB}; `mlla compare` makes such folders")
    faulthandler.enable()
    signal.signal(signal.SIGTERM, _interrupt)
    if given.with_parent:
        threading.Thread(target=_end_with_input, daemon=True).start()
    return work_on(given.folder.absolute())


def work_on(folder: Path) -> int:
    """Train the run in a folder, unless another process does.

    Returns:
        The exit code.
    """
    try:
        with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
            return _attempt(folder)
    except Timeout:
        print(f"another process is training in {folder}", file=sys.stderr)
        return BUSY_CODE


def _attempt(folder: Path) -> int:
    """Go on with a run, and write down how that ended."""
    if run_state(folder) == "done":
        return DONE_CODE
    try:
        _begin(folder)
        job = read_json(folder / JOB)
        use_private_settings(folder / _PRIVATE_SETTINGS)
        search_blocks_in(job["arm"]["python_path"])
        _train(folder, job)
        _finish(folder, job)
    except KeyboardInterrupt:
        print(f"interrupted: {epochs_done(folder)} epochs are kept", file=sys.stderr)
        return INTERRUPTED_CODE
    except (Exception, SystemExit) as error:
        line = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            line += f"; free some space on the disk of {folder}, and the run goes on"
        text = traceback.format_exc()
        try:
            record_failure(folder, line, text)
        except OSError as unwritten:
            text += f"{FAILURE} could not be written: {unwritten}\n"
        print(f"{text}failed: {line}", file=sys.stderr)
        return FAILED_CODE
    return DONE_CODE


def _begin(folder: Path) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    with (folder / ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(f"{now} after {epochs_done(folder)} epochs\n")
    (folder / FAILURE).unlink(missing_ok=True)
    print(f"--- attempt {num_attempts(folder)} at {now}, {epochs_done(folder)} epochs are done")


def _train(folder: Path, job: dict[str, Any]) -> None:
    """Train to the end, unless an earlier attempt did."""
    # ultralytics reads its settings when it is imported
    from mlla.yolo import RTDETR, YOLO
    from mlla.yolo.repeatable import (
        TRAINED,
        RepeatableDetectionTrainer,
        RepeatableRTDETRTrainer,
        use_threads,
    )

    use_threads(job["threads"])
    if (folder / TRAINED).exists():
        return
    if not (folder / START).exists():
        _write_start(folder / START, job)
    model = YOLO(str(folder / START))
    is_rtdetr = isinstance(model, RTDETR)
    model.train(
        trainer=RepeatableRTDETRTrainer if is_rtdetr else RepeatableDetectionTrainer,
        **{
            **job["settings"],
            "data": job["data"],
            "seed": job["seed"],
            "project": str(folder.parent),
            "name": folder.name,
            "exist_ok": True,
            "pretrained": True,
        },
    )


def _write_start(path: Path, job: dict[str, Any]) -> None:
    """Write the initial weights, in full precision, and what they were made of."""
    import torch

    from mlla.data.data_yaml import read_data_yaml
    from mlla.yolo.start import build_start

    model, counts = build_start(
        Arm.from_dict(job["arm"]),
        Arm.from_dict(job["baseline"]),
        seed=job["seed"],
        num_classes=job["num_classes"],
        pretrained=job["pretrained"],
    )
    network: Any = model.model
    # Ultralytics 8.4 would sort the rows of the head by the names of classes
    network.names = dict(enumerate(read_data_yaml(Path(job["data"]), []).names))
    buffer = io.BytesIO()
    content = {"epoch": -1, "model": network, "train_args": {"task": "detect"}, "counts": counts}
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def _finish(folder: Path, job: dict[str, Any]) -> None:
    """Predict, and write what came out; that makes the run complete."""
    import torch

    from mlla.yolo.repeatable import STATE, TRAINED

    trained = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    counts = torch.load(folder / START, map_location="cpu", weights_only=False)["counts"]
    files = list(NAMED_FILES)
    if job["predict"]:
        _write_predictions(folder, job)
        files.append(PREDICTIONS)
    best_epoch = trained.pop("best_epoch")
    outcome = {
        "arm": job["arm"]["name"],
        "seed": job["seed"],
        "counts": counts,
        **trained,
        "attempts": num_attempts(folder),
        "checkpoint": job["checkpoint"],
        "checkpoint_epoch": best_epoch if job["checkpoint"] == "best" else trained["epochs"],
        "versions": _versions(),
        "files": {name: file_digest(folder / name) for name in files},
    }
    write_json(folder / OUTCOME, outcome)
    for name in (START, STATE, TRAINED):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _PRIVATE_SETTINGS, ignore_errors=True)
    print(f"done: {OUTCOME} is written")


def _write_predictions(folder: Path, job: dict[str, Any]) -> None:
    from mlla.study.scoring.ground_truth import read_ground_truth
    from mlla.study.scoring.predictions import predict
    from mlla.yolo import YOLO

    images = read_ground_truth(job["data"], job["scored"]).images
    settings = job["settings"]
    model = YOLO(str(folder / "weights" / f"{job['checkpoint']}.pt"))
    device = settings.get("device")
    found = predict(model, images, imgsz=settings["imgsz"], device=device)
    # without a time in it, equal predictions make equal files
    write_whole(folder / PREDICTIONS, gzip.compress(json.dumps(found).encode(), mtime=0))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # only the package that scores may be missing, and it does so later
            continue
    return found


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat a request to end like Ctrl-C."""
    raise KeyboardInterrupt


def _end_with_input() -> None:
    """End when the standard input does: the parent process died, or wants this one to."""
    # a dependency of ultralytics
    import psutil  # type: ignore[import-untyped]

    while os.read(0, 1024):
        pass
    _thread.interrupt_main()
    time.sleep(GRACE_S)
    # still here: the main thread is deep in a computation
    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(INTERRUPTED_CODE)


if __name__ == "__main__":
    sys.exit(main())
