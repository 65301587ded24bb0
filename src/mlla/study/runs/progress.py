"""How far a study is, read from its run folders, with the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from mlla.study.runs.run_folder import epochs_done

_MAX_LINES = 8


@dataclass(frozen=True)
class Watched:
    """A run to watch.

    Attributes:
        label: What to call it.
        folder: Its run folder.
    """

    label: str
    folder: Path


class Progress:
    """Shows one line per run at work and a total; where nobody watches, a line per epoch.

    It reads the folders alone, so it does not matter on which machine a run is worked on.

    Args:
        runs: Those that are to be trained.
        epochs: Epochs of each.
        stream: Where to; standard error by default.
    """

    def __init__(
        self, runs: Sequence[Watched], epochs: int, *, stream: TextIO | None = None
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._epochs = epochs
        self._runs = {run.folder: run for run in runs}
        self._done = {run.folder: epochs_done(run.folder) for run in runs}
        self._ended: set[Path] = set()
        self._at_start = sum(self._done.values())
        self._started = time.monotonic()
        self._total: tqdm[Any] | None = None
        self._lines: dict[Path, tqdm[Any]] = {}
        if self._stream.isatty():
            self._total = self._bar("", len(self._runs) * epochs, self._at_start, 0)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for bar in (*self._lines.values(), self._total):
            if bar is not None:
                bar.close()

    def update(self, running: Sequence[Path]) -> None:
        """Read the folders of the runs at work, and show what is new.

        Args:
            running: Folders of the runs at work.
        """
        for folder in running:
            done = min(epochs_done(folder), self._epochs)
            if done > self._done[folder]:
                self._done[folder] = done
                if self._total is None:
                    place = f"epoch {done} of {self._epochs}"
                    self._say(f"{self._runs[folder].label}: {place} ({self.summary()})")
        if self._total is not None:
            self._draw(running, self._total)

    def end(self, folder: Path, result: str) -> None:
        """Say that a run came to its end.

        Args:
            folder: Its folder.
            result: "done", or what went wrong.
        """
        self._ended.add(folder)
        if result == "done":
            self._done[folder] = self._epochs
        if bar := self._lines.pop(folder, None):
            bar.close()
        self._say(f"{self._runs[folder].label}: {result} ({self.summary()})")

    def summary(self) -> str:
        """Return how many runs are at their end, and the time left."""
        text = f"{len(self._ended)} of {len(self._runs)} runs"
        seconds = self.seconds_left()
        return f"{text}, {in_words(seconds)} left" if seconds else text

    def seconds_left(self) -> float | None:
        """Return the time left for epochs at the pace so far; None before the first one."""
        trained = sum(self._done.values()) - self._at_start
        if not trained:
            return None
        elapsed = time.monotonic() - self._started
        left = sum(
            self._epochs - done for folder, done in self._done.items() if folder not in self._ended
        )
        return elapsed / trained * left

    def _say(self, text: str) -> None:
        tqdm.write(text, file=self._stream)
        self._stream.flush()

    def _draw(self, running: Sequence[Path], total: tqdm[Any]) -> None:
        """Draw a bar for each run at work below the total."""
        for folder in [folder for folder in self._lines if folder not in running]:
            self._lines.pop(folder).close()
        for folder in running[:_MAX_LINES]:
            if folder not in self._lines:
                taken = {bar.pos for bar in self._lines.values()}
                place = next(n for n in range(1, _MAX_LINES + 1) if -n not in taken)
                label = self._runs[folder].label
                self._lines[folder] = self._bar(label, self._epochs, self._done[folder], place)
            bar = self._lines[folder]
            bar.n = self._done[folder]
            bar.refresh()
        total.n = sum(self._done.values())
        total.set_description_str(self.summary())

    def _bar(self, label: str, total: int, done: int, place: int) -> tqdm[Any]:
        return tqdm(
            desc=label,
            total=total,
            initial=done,
            position=place,
            leave=False,
            file=self._stream,
            dynamic_ncols=True,
            bar_format="{desc}: {bar} {n_fmt} of {total_fmt} epochs",
        )


def in_words(seconds: float) -> str:
    """Return a time as people say it: "40 s", "12 min", "3 h 20 min", "2 days 4 h"."""
    if seconds < 60:
        return f"{max(seconds, 1):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"
