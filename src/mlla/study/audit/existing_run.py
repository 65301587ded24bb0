"""A run folder that somebody trained, and where such folders lie."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlla.study.audit.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mlla.study.audit.results_csv import SCORE_COLUMNS, Epochs, read_epochs
from mlla.study.run_folder import JOB, OUTCOME

# folders that hold no runs to be compared
_NOT_RUNS = {"probe", "weights"}


@dataclass(frozen=True)
class ExistingRun:
    """A folder of a training, as far as its files can be read.

    Attributes:
        folder: The folder.
        name: What to call it: its path below the audited folder.
        written_arguments: Content of args.yaml.
        epochs: Content of results.csv.
        best: The checkpoint that scored best on the validation images.
        last: The checkpoint of the last epoch.
        job: What `mlla compare` asked for, if it made the run.
        outcome: What it noted when the run was complete.
        problems: What could not be read, one sentence each.
    """

    folder: Path
    name: str
    written_arguments: dict[str, Any]
    epochs: Epochs
    best: Checkpoint | None
    last: Checkpoint | None
    job: dict[str, Any] | None
    outcome: dict[str, Any] | None
    problems: tuple[str, ...]

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """The arguments it ran with: those of the checkpoint know what "auto" became."""
        ran_with = self.checkpoint.arguments if self.checkpoint is not None else {}
        return {**self.written_arguments, **ran_with}

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The newest readable checkpoint, for what both say alike."""
        return self.last or self.best

    @property
    def version(self) -> str | None:
        """The release of Ultralytics, or None where no checkpoint tells."""
        return self.checkpoint.version if self.checkpoint is not None else None

    @property
    def seed(self) -> int | None:
        """Its seed."""
        seed = self.arguments.get("seed")
        return seed if isinstance(seed, int) else None

    @property
    def was_resumed(self) -> bool:
        """Whether Ultralytics resumed it; its args.yaml then names its own last.pt."""
        return bool(self.arguments.get("resume")) and self.job is None

    @property
    def arm(self) -> dict[str, Any]:
        """The arm of `mlla compare` that it belongs to; empty for other runs."""
        arm = (self.job or {}).get("arm")
        return arm if isinstance(arm, dict) else {}

    @property
    def model(self) -> str:
        """The model as it was asked for; where that is lost, the name in the checkpoint."""
        asked = self.arguments.get("model")
        if asked and not self.was_resumed:
            return str(asked)
        config = self.checkpoint.config if self.checkpoint is not None else {}
        return str(config.get("yaml_file") or asked or "unknown model")

    @property
    def task(self) -> str:
        """Its task, such as "detect"."""
        return str(self.arguments.get("task") or "detect")

    @property
    def scores(self) -> tuple[float, ...]:
        """mAP50-95, or what the task has in its place, of each epoch on the validation images."""
        return self.epochs.column(SCORE_COLUMNS.get(self.task, SCORE_COLUMNS["detect"]))

    @property
    def last_score(self) -> float:
        """The score after the last epoch; NaN if there is none."""
        return self.scores[-1] if self.scores else math.nan

    @property
    def best_row(self) -> int | None:
        """Index of the row of the epoch that best.pt holds, or None if no row has a score."""
        known = self.best.metrics if self.best is not None else {}
        rows = range(len(self.epochs.numbers))
        if known:
            # in the file there are six digits
            same = [
                row
                for row in rows
                if all(
                    math.isclose(values[row], known[name], rel_tol=1e-4, abs_tol=1e-5)
                    for name, values in (self.epochs.columns or {}).items()
                    if name.startswith(("metrics/", "val/"))
                    and isinstance(known.get(name), int | float)
                )
            ]
            if same:
                # of equal epochs, Ultralytics keeps the last
                return same[-1]
        scored = [row for row in rows if row < len(self.scores) and self.scores[row] > -math.inf]
        return max(scored, key=lambda row: self.scores[row]) if scored else None

    @property
    def best_score(self) -> float:
        """The score of best.pt on the validation images; NaN if there is none."""
        return math.nan if self.best_row is None or not self.scores else self.scores[self.best_row]

    @property
    def planned_epochs(self) -> int | None:
        """How many epochs were asked for."""
        planned = self.arguments.get("epochs")
        return planned if isinstance(planned, int) else None

    @property
    def num_epochs(self) -> int:
        """How many epochs were trained."""
        return self.epochs.numbers[-1] if self.epochs.numbers else 0

    @property
    def stopped_early(self) -> bool:
        """Whether `patience` or `time` ended it before its last epoch."""
        return self._is_short and not self.is_interrupted

    @property
    def is_interrupted(self) -> bool:
        """Whether it ended before its last epoch without having been told to."""
        if self.last is not None:
            return not self.last.is_finished
        if not self._is_short or self.arguments.get("time"):
            return False
        waited = self.num_epochs - 1 - (self.best_row or 0)
        patience = self.arguments.get("patience")
        return not (isinstance(patience, int) and 0 < patience <= waited)

    @property
    def _is_short(self) -> bool:
        return self.planned_epochs is not None and self.num_epochs < self.planned_epochs


def find_run_folders(root: Path) -> list[Path]:
    """List the folders below `root`, itself included, that look like a training.

    Args:
        root: The folder.

    Returns:
        Folders with an args.yaml or results.csv of a training; those of predictions and
        validations, and the probes of `mlla compare`, are left out.
    """
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _NOT_RUNS and not f.startswith("."))
        # a study has a results.csv, too
        if "study.json" not in files and _is_training(Path(place), files):
            found.append(Path(place))
    return found


def _is_training(folder: Path, files: list[str]) -> bool:
    """Return whether the files of a folder are those of a training."""
    arguments = _read_yaml(folder / "args.yaml")[0] if "args.yaml" in files else {}
    if arguments.get("mode", "train") != "train":
        return False
    weights = any((folder / "weights" / name).is_file() for name in ("best.pt", "last.pt"))
    table = "results.csv" in files and bool(read_epochs(folder / "results.csv").columns)
    return weights or table or "epochs" in arguments


def read_run(folder: Path, root: Path) -> ExistingRun:
    """Read one run folder; what is broken is said in `problems`.

    Args:
        folder: The folder.
        root: The folder that its name starts from.

    Returns:
        The run.
    """
    arguments, problems = _read_yaml(folder / "args.yaml")
    epochs = read_epochs(folder / "results.csv")
    best, last = (
        _read_weights(folder / "weights" / name, problems) for name in ("best.pt", "last.pt")
    )
    name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
    return ExistingRun(
        folder,
        name,
        arguments,
        epochs,
        best,
        last,
        _read_json(folder / JOB, problems),
        _read_json(folder / OUTCOME, problems),
        (*problems, *epochs.problems),
    )


def _read_yaml(file: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        content = yaml.safe_load(file.read_bytes())
    except OSError as error:
        return {}, [f"{file.name} cannot be read ({error.strerror})"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, [f"{file.name} is not YAML ({str(error).splitlines()[0]})"]
    if not isinstance(content, dict):
        return {}, [f"{file.name} holds no arguments"]
    return content, []


def _read_weights(file: Path, problems: list[str]) -> Checkpoint | None:
    try:
        return read_checkpoint(file)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        problems.append(str(error).replace(str(file), f"weights/{file.name}"))
    except OSError as error:
        problems.append(f"weights/{file.name} cannot be read ({error.strerror})")
    return None


def _read_json(file: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{file.name} cannot be read ({error})")
        return None
    return content if isinstance(content, dict) else None


def read_runs(root: Path) -> Iterator[ExistingRun]:
    """Read every run below a folder, in the order of their names.

    Args:
        root: The folder.

    Yields:
        The runs.
    """
    for folder in find_run_folders(root):
        yield read_run(folder, root)
