"""How many pretrained weights a run started with.

Ultralytics matches weights by names that contain the row number of their layer. A block inserted
into the model shifts all rows behind it, whose weights are then left out with one line in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.audit.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mlla.study.audit.existing_run import ExistingRun

# random kernels of this size correlate to less than 0.1; those of one origin, after training, more
_LEAST_SIZE, _ALIKE = 512, 0.3
# of kernels that were certainly taken over, so many must look it, for the others to mean anything
_TELLING = 0.8


@dataclass(frozen=True)
class Kernels:
    """Large kernels that two networks have in the same part.

    Attributes:
        total: Their number.
        alike: Those that still look like each other.
    """

    total: int = 0
    alike: int = 0

    @property
    def share(self) -> float:
        """The share that looks alike; 0 without any."""
        return self.alike / self.total if self.total else 0.0


@dataclass(frozen=True)
class Transfer:
    """What is known of the weights that a run started with.

    Attributes:
        source: The pretrained file as the run names it, or None for random weights.
        file: Where the file is, or None if it is not here.
        is_guess: Whether the run does not name the file, but others beside it do.
        total: Tensors of the pretrained network; the others are of these.
        by_name: Tensors that fit by name and shape, as Ultralytics matches them.
        by_row: Tensors that fit once rows of the same part are paired, as mlla matches them; None
            if mlla's detectors are not installed.
        unmoved: Large kernels among them whose row has the same number in both networks.
        moved: Those whose row has another number.
    """

    source: str | None
    file: Path | None = None
    is_guess: bool = False
    total: int = 0
    by_name: int = 0
    by_row: int | None = None
    unmoved: Kernels = Kernels()
    moved: Kernels = Kernels()

    @property
    def count(self) -> int | None:
        """How many tensors of the pretrained network it began with; None where nothing tells."""
        if self.source is None:
            return 0
        if not self.total or self.by_row is None:
            return None
        if self.is_guess:
            all_kernels = self.unmoved.total + self.moved.total
            alike = self.unmoved.alike + self.moved.alike
            return round(self.by_row * alike / all_kernels) if all_kernels else None
        if self.by_row == self.by_name:
            return self.by_name
        # after a long training even the weights that were taken over may look like no others
        if not self.moved.total or self.unmoved.share < _TELLING:
            return None
        return self.by_row if self.moved.share > 1 - _TELLING else self.by_name

    @property
    def share(self) -> float | None:
        """The same as a share of the pretrained network."""
        if self.source is None:
            return 0.0
        return None if self.count is None else self.count / self.total


def transfer_of(
    run: ExistingRun, places: Iterable[Path], guess: str | None = None
) -> Transfer | None:
    """Find out how many pretrained weights a run started with.

    Args:
        run: The run.
        places: Folders in which a relative name of the pretrained file may be meant.
        guess: A pretrained file to try where the run does not say what it started from.

    Returns:
        What is known; None where nothing is.
    """
    if run.job is not None:
        return _noted(run.job, (run.outcome or {}).get("counts"))
    source = start_of(run)
    if source == "":
        return Transfer(None)
    name = source or guess
    if name is None:
        return None
    file = _find(name, places)
    if file is None or run.checkpoint is None:
        return Transfer(source, file) if source else None
    try:
        pretrained = read_checkpoint(file)
    except (CheckpointError, OSError):
        return Transfer(source) if source else None
    return _compare(name, pretrained, run.checkpoint, is_guess=source is None)


def start_of(run: ExistingRun) -> str | None:
    """Return the pretrained file of a run, "" for random weights, or None where nothing tells."""
    asked, pretrained = str(run.arguments.get("model")), run.arguments.get("pretrained")
    is_plugged = run.checkpoint is not None and "plug" in run.checkpoint.config
    if run.was_resumed:
        return None
    if asked.endswith(".pt"):
        return asked
    if isinstance(pretrained, str) and pretrained.endswith(".pt"):
        return pretrained
    # weights that were plugged or loaded in memory leave no name
    return None if is_plugged or not asked.endswith((".yaml", ".yml")) else ""


def _noted(job: Mapping[str, Any], counts: Any) -> Transfer | None:
    """Return what `mlla compare` has counted."""
    if job.get("pretrained") is None:
        return Transfer(None)
    if not isinstance(counts, dict):
        return None
    kept = int(counts.get("pretrained_kept", 0))
    total = int(counts.get("pretrained_tensors", 0))
    source = str(job["pretrained"])
    return Transfer(source, Path(source), total=total, by_name=kept, by_row=kept)


def _find(source: str, places: Iterable[Path]) -> Path | None:
    for place in (Path(), *places):
        if (place / source).is_file():
            return place / source
    return None


def _compare(
    source: str, pretrained: Checkpoint, trained: Checkpoint, *, is_guess: bool
) -> Transfer:
    shapes = {name: stored.shape for name, stored in trained.tensors.items()}
    known = Transfer(
        source,
        pretrained.file,
        is_guess,
        len(pretrained.tensors),
        sum(shapes.get(name) == stored.shape for name, stored in pretrained.tensors.items()),
    )
    names = _row_names(pretrained, trained)
    if names is None:
        return known
    paired = {
        old: new for old, new in names.items() if shapes.get(new) == pretrained.tensors[old].shape
    }
    kernels = {
        old: new
        for old, new in paired.items()
        if len(shapes[new]) > 1 and pretrained.tensors[old].size >= _LEAST_SIZE
    }
    before = dict(pretrained.values(list(kernels)))
    after = dict(trained.values(list(kernels.values())))
    alike: dict[bool, list[bool]] = {True: [], False: []}
    for old, new in kernels.items():
        if old in before and new in after:
            alike[old == new].append(_correlation(before[old], after[new]) > _ALIKE)
    unmoved, moved = (Kernels(len(alike[same]), sum(alike[same])) for same in (True, False))
    return replace(known, by_row=len(paired), unmoved=unmoved, moved=moved)


def _row_names(pretrained: Checkpoint, trained: Checkpoint) -> dict[str, str] | None:
    """Return the name that each pretrained tensor has in the other network."""
    try:
        # ultralytics takes seconds to import, and may be missing
        from mlla.yolo.expand import matching_rows
    except ModuleNotFoundError:
        return None
    if not (_is_config(pretrained.config) and _is_config(trained.config)):
        return None
    row_map = matching_rows(pretrained.config, trained.config)
    names = {}
    for name in pretrained.tensors:
        prefix, row, rest = name.split(".", 2)
        if int(row) in row_map:
            names[name] = f"{prefix}.{row_map[int(row)]}.{rest}"
    return names


def _is_config(config: dict[str, object]) -> bool:
    return all(isinstance(config.get(part), list) for part in ("backbone", "head"))


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    first, second = before.astype(np.float64).ravel(), after.astype(np.float64).ravel()
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    size = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / size if size else 0.0
