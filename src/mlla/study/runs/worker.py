"""Trains one run in a process of its own: `python -m mlla.study.runs.worker RUN_FOLDER`.

It goes on from wherever an earlier attempt stopped, and may be killed at any moment.
"""

from __future__ import annotations

import _thread
import errno
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from argparse import ArgumentParser
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from mlla.study.files import read_json
from mlla.study.runs import detector_run
from mlla.study.runs.run_folder import (
    ATTEMPTS,
    BUSY_CODE,
    DONE_CODE,
    FAILED_CODE,
    FAILURE,
    INTERRUPTED_CODE,
    JOB,
    WITH_PARENT,
    epochs_done,
    num_attempts,
    record_failure,
    run_state,
)
from mlla.study.six_designs import classifier_run

# what a job says that it trains, and who knows how; those of detectors say nothing
KINDS = {"detector": detector_run, "classifier": classifier_run}
# an earlier worker whose parent was killed needs a moment to end
LOCK_TIMEOUT_S = 60
# for an orderly end, which loggers like
GRACE_S = 10
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


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
        parser.error(
            f"{given.folder} holds no {JOB}; `mlla compare` and `mlla study` make such folders"
        )
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
        kind = KINDS[job.get("kind", "detector")]
        kind.train(folder, job)
        kind.finish(folder, job)
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


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat a request to end like Ctrl-C."""
    raise KeyboardInterrupt


def _end_with_input() -> None:
    """End when the standard input does: the parent process died, or wants this one to."""
    # a dependency of ultralytics and of accelerate
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
