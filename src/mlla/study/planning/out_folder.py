"""The folder of a study: whose it is, who works in it, and whether the disk has room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlla.study.planning.plan import PLAN
from mlla.study.runs.training_runs import Run

LOCK = ".lock"
# per parameter: weights, averages and the state of the optimizer, each also as a draft; then the
# weights of two checkpoints in half precision
_BYTES_AT_WORK, _BYTES_DONE = 72, 4
# 300 detections, packed; and tables and logs
_BYTES_PER_IMAGE, _BYTES_PER_RUN = 6_000, 2_000_000


def default_folder(data: Path) -> Path:
    """Return studies/NAME, after the data.yaml, or after its folder if it is called just that."""
    generic = data.stem.lower() in ("data", "dataset")
    return Path("studies") / (data.parent.name if generic else data.stem)


def refuse_foreign_folder(out: Path, plan: str = PLAN) -> None:
    """Raise if a folder holds something else than a study.

    Args:
        out: The folder, which need not exist.
        plan: Name of the file that makes it a study.

    Raises:
        ValueError: If it does.
    """
    if out.is_file():
        raise ValueError(f"out={str(out)!r} is a file; name a new folder")
    if (out / plan).exists() or not out.exists():
        return
    # an earlier attempt may have been killed before its plan was written
    others = [path.name for path in out.iterdir() if path.name not in (LOCK, "data")]
    if others := [name for name in others if not name.endswith(".writing")]:
        raise ValueError(
            f"out={str(out)!r} holds {others[0]} and no {plan}, so it is no study; nothing was "
            "changed. Choose a new folder"
        )


@contextmanager
def study_lock(out: Path) -> Iterator[None]:
    """Hold the folder of a study, which is made where it does not exist.

    The system lets go of it when this process ends, however that happens. A folder in which nothing
    was written is removed again.

    Args:
        out: The folder.

    Raises:
        RuntimeError: If another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RuntimeError(
            f"another comparison is at work in {out}; wait until it is done, or choose another "
            "folder with out="
        ) from error
    try:
        yield
    finally:
        lock.release()
        if all(path.name == LOCK for path in out.iterdir()):
            shutil.rmtree(out, ignore_errors=True)


def disk_need(plan: Mapping[str, Any], runs: Sequence[Run], num_at_a_time: int) -> float:
    """Estimate the bytes that runs will take at most.

    Args:
        plan: The plan.
        runs: Those that are to be trained.
        num_at_a_time: How many of them are trained at a time.
    """
    sizes = {name: counts["parameters"] for name, counts in plan["counts"].items()}
    images = plan["data"]["splits"][plan["data"]["scored"]]["images"]
    each = _BYTES_PER_RUN + images * _BYTES_PER_IMAGE
    lasting = sum(_BYTES_DONE * sizes[run.arm] + each for run in runs)
    return lasting + min(num_at_a_time, len(runs)) * _BYTES_AT_WORK * max(sizes.values())


def refuse_small_disk(out: Path, needed: float) -> None:
    """Raise if the disk has no room for a study.

    Args:
        out: Its folder, which need not exist.
        needed: Bytes that it takes.

    Raises:
        RuntimeError: If there are less.
    """
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise RuntimeError(
            f"the study needs up to {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free in "
            f"{existing}; free some space, or choose a folder on another disk with out="
        )
