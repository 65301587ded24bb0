"""Checking a class in a process of its own, whatever its code does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any

from mlla.check.report import Finding, Report, Verdict

_PACKAGES = Path(__file__).parents[2]
# the working folder must not shadow what is installed
_START = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; sys.path.append({packages!r}); "
    "from mlla.check.worker import main; sys.exit(main(sys.argv[1:]))"
)
_LAST_LINES = 5


class CheckError(ValueError):
    """The class could not be checked; the message says why and what to do."""


def check_class(
    file: str | Path,
    class_name: str,
    *,
    width: int = 64,
    arguments: Mapping[str, Any] | None = None,
    timeout_s: float = 120,
    seed: int = 0,
) -> Report:
    """Run a class of a Python file through every probe, in a process of its own.

    The code of the file runs with the rights of the caller: check only what you would run.

    Args:
        file: A Python file.
        class_name: A class in it, derived from `torch.nn.Module`.
        width: Number of channels to build it with, if its constructor takes one.
        arguments: Arguments of its constructor: numbers, strings, lists, tuples.
        timeout_s: Seconds after which the process is ended.
        seed: Seed of weights and inputs.

    Returns:
        What was found. If the code ends the process, that is a fault beside what had been found by
        then; if the time is over, the report is not complete.

    Raises:
        CheckError: If the file cannot be imported, the class not be built, or no input makes it
            run.
    """
    path = Path(file)
    if not path.is_file():
        raise CheckError(f"{path} is not a file; name a Python file and a class in it")
    request = {
        "file": str(path),
        "class_name": class_name,
        "width": width,
        "arguments": dict(arguments or {}),
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="mlla-check-") as folder:
        events_file = Path(folder) / "events.jsonl"
        ending, timed_out = _run(request, events_file, timeout_s)
        lines = events_file.read_text(encoding="utf-8") if events_file.exists() else ""
    # the last line may have been cut off
    events = [json.loads(line) for line in lines.splitlines(keepends=True) if line.endswith("\n")]
    return _report(f"{path}:{class_name}", events, ending, timed_out=timed_out)


def _run(request: dict[str, Any], events_file: Path, timeout_s: float) -> tuple[str, bool]:
    """Run the worker; return how it ended if not by itself, and whether the time was over."""
    environment = {
        # no downloads and no installations by what the file imports
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _START.format(packages=str(_PACKAGES)),
            str(events_file),
            repr(request),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    printed: deque[bytes] = deque(maxlen=_LAST_LINES)
    reader = Thread(target=_drain, args=(process.stdout, printed), daemon=True)
    reader.start()
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return f"did not come to an end within {timeout_s:g} s", True
    finally:
        _end(process)
    if code == 0:
        # by sys.exit or os._exit in the code, if there is no last event
        return "ended the process (exit code 0)", False
    reader.join(1)
    last = b" | ".join(line.strip() for line in printed if line.strip()).decode("utf-8", "replace")
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"ended the process ({name})" + (f"; it printed: {last[-300:]}" if last else ""), False


def _drain(stream: IO[bytes] | None, printed: deque[bytes]) -> None:
    """Keep the last lines, of bounded length, and let the rest go."""
    while stream is not None and (line := stream.readline(1000)):
        printed.append(line)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _report(target: str, events: list[dict[str, Any]], ending: str, *, timed_out: bool) -> Report:
    merged: dict[str, Any] = {}
    for event in events:
        merged.update(event)
    if "error" in merged:
        raise CheckError(merged["error"])
    is_finished = merged.get("finished", False)
    doing = merged.get("started", "starting")
    if not is_finished and "built_as" not in merged:
        raise CheckError(
            f"{target} cannot be checked: while {doing}, it {ending}; code "
            'outside of functions and classes belongs under if __name__ == "__main__"'
        )
    findings = [Finding.from_fields(event["finding"]) for event in events if "finding" in event]
    if not is_finished:
        findings.append(
            Finding(
                "comes to an end",
                Verdict.NOT_CHECKED if timed_out else Verdict.FAULT,
                f"during {doing} it {ending}; the rest is not checked",
                done="Ran the checks one after the other in a process of their own.",
                why="Code that ends the process takes a training with it.",
                remedy="Look at what forward does at other sizes and in half precision.",
            )
        )
    return Report(
        target,
        merged["built_as"],
        merged["called_with"],
        tuple(findings),
        is_complete=is_finished,
    )
