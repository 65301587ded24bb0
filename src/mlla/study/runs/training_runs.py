"""The runs of a study: what each is to train, and training all of them that are not done."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.study.planning.arms import Arm
from mlla.study.runs.progress import Progress
from mlla.study.runs.run_folder import (
    execute,
    num_attempts,
    prepare_run,
    read_outcome,
    run_state,
)

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Run:
    """One arm under one seed.

    Attributes:
        arm: Name of the arm.
        seed: The seed.
        folder: The run folder.
        job: What its worker is asked to do.
    """

    arm: str
    seed: int
    folder: Path
    job: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What a user reads."""
        return f"{self.arm}, seed {self.seed}"


def planned_runs(plan: Mapping[str, Any], out: Path) -> list[Run]:
    """List the runs of a plan: all arms of the first seed, then of the next one.

    A study that is stopped early has as many runs of every arm, give or take one.

    Args:
        plan: The plan.
        out: Folder of the study.
    """
    arms = [Arm.from_dict(arm) for arm in plan["arms"] if arm["kind"] != "added"]
    return [
        Run(
            arm.name,
            seed,
            out / "runs" / arm.folder / f"seed-{seed}",
            make_job(plan, arm.to_dict(), seed),
        )
        for seed in plan["seeds"]
        for arm in arms
    ]


def make_job(plan: Mapping[str, Any], arm: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return what a worker is asked to do.

    Args:
        plan: The plan.
        arm: An arm as the plan stores it.
        seed: The seed.
    """
    return {
        "arm": dict(arm),
        "baseline": plan["arms"][0],
        "seed": seed,
        "data": plan["data"]["study_yaml"],
        "num_classes": len(plan["data"]["names"]),
        "scored": plan["data"]["scored"],
        "checkpoint": plan["checkpoint"],
        "pretrained": plan["pretrained"],
        "settings": plan["settings"],
        "threads": plan["threads"],
        "predict": True,
    }


def unfinished(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that are not done, after checking the files of those that are.

    Args:
        runs: Runs of a study.

    Raises:
        ValueError: If a file of a finished run was changed or is missing.
    """
    waiting = []
    for run in runs:
        if run_state(run.folder) == "done":
            read_outcome(run.folder)
        else:
            waiting.append(run)
    return waiting


def train_runs(
    runs: Sequence[Run],
    executor: Executor,
    progress: Progress,
    *,
    needed_bytes: float = 0,
    ended: Callable[[Run], None] | None = None,
) -> dict[str, str]:
    """Train runs, and go on where one fails.

    Args:
        runs: Those that are to be trained, the first first.
        executor: Who works on them.
        progress: Shows how far they are.
        needed_bytes: Free space without which no further run makes sense.
        ended: Called after every run that came to its end.

    Returns:
        What went wrong, by the label of the run.

    Raises:
        KeyboardInterrupt: After Ctrl-C; runs that have not begun were taken back.
        RuntimeError: If the disk is full.
        ValueError: If the folder of a run holds something else.
    """
    for run in runs:
        prepare_run(run.folder, run.job)
    attempts = {run.folder: num_attempts(run.folder) for run in runs}
    failures: dict[str, str] = {}
    waiting: dict[Future[Any], Run] = {}
    try:
        for run in runs:
            waiting[executor.submit(execute, str(run.folder))] = run
        while waiting:
            finished, _ = wait(waiting, timeout=_LOOK_EVERY_S, return_when=FIRST_COMPLETED)
            folders = [run.folder for run in waiting.values()]
            progress.update([f for f in folders if num_attempts(f) > attempts[f]])
            for future in [future for future in waiting if future in finished]:
                run = waiting.pop(future)
                error = _error(future)
                progress.end(run.folder, "done" if error is None else f"failed: {error}")
                if error is not None:
                    failures[run.label] = error
                    _refuse_full_disk(run.folder, needed_bytes)
                if ended is not None:
                    ended(run)
    finally:
        for future in waiting:
            future.cancel()
    return failures


def _error(future: Future[Any]) -> str | None:
    """Return what went wrong in one line; None if nothing did."""
    try:
        result = future.result()
    # whatever a cluster raises for a lost job
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    if result["state"] == "done":
        return None
    return result["error"] or "it was interrupted from outside"


def _refuse_full_disk(folder: Path, needed_bytes: float) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise RuntimeError(
            f"the disk of {folder} is full: {free / 1e6:.0f} MB are free and the next run needs "
            f"{needed_bytes / 1e6:.0f} MB; free some space, then give the same command again"
        )
