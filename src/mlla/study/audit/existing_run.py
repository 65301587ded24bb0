"""A run folder that somebody trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mlla.study.audit.checkpoint import Checkpoint
from mlla.study.audit.results_csv import SCORE_COLUMNS, Epochs


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
