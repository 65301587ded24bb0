"""The folder of a training: what was asked, what came out, and where to go on."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from mlla.training.files import replacing_file, replacing_folder

FORMAT = 1
LOCK = ".training.lock"
# what may be another at each start, since it does not decide the outcome
FREE_ARGUMENTS = frozenset({"workers", "device"})

Row = dict[str, float | int | None]


class RunFolder:
    """A folder with args.yaml, results.csv, state.pt and the models `last` and `best`.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.arguments_file = self.path / "args.yaml"
        self.results_file = self.path / "results.csv"
        self.state_file = self.path / "state.pt"
        self.last = self.path / "last"
        self.best = self.path / "best"

    def recorded_arguments(self) -> dict[str, Any]:
        """Return the arguments of an earlier start, or nothing.

        Raises:
            ValueError: If the folder holds something else than a training.
        """
        if self.arguments_file.is_file():
            content = yaml.safe_load(self.arguments_file.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
            raise ValueError(f"{self.arguments_file} does not hold arguments; choose another out")
        if self.path.is_dir() and any(path.name != LOCK for path in self.path.iterdir()):
            raise ValueError(f"out={self.path} is not empty and not a training; choose another")
        return {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, which is made where it does not exist, for this process alone.

        The system lets go of it when the process ends, however that happens.

        Raises:
            RuntimeError: If another process holds it.
            ValueError: If it holds something else than a training.
        """
        self.recorded_arguments()
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise RuntimeError(
                f"another training is at work in out={self.path}; wait until it is done, or "
                "choose another folder"
            ) from error
        try:
            yield
        finally:
            # while it is still held, so that nobody else can have it
            (self.path / LOCK).unlink(missing_ok=True)
            lock.release()
            if not any(self.path.iterdir()):
                self.path.rmdir()

    def open(self, arguments: Mapping[str, Any]) -> None:
        """Make the folder, or make sure that it is of the same training.

        Args:
            arguments: Plain values by name.

        Raises:
            ValueError: If arguments differ from those of an earlier start, or the folder holds
                something else than a training.
        """
        arguments = yaml.safe_load(yaml.safe_dump(dict(arguments), sort_keys=False))
        recorded = self.recorded_arguments()
        if recorded:
            _check_same(self.path, recorded, arguments)
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with replacing_file(self.arguments_file) as draft:
            draft.write_text(yaml.safe_dump(arguments, sort_keys=False), encoding="utf-8")

    def load_state(self) -> dict[str, Any] | None:
        """Return the state after the last whole epoch, on the CPU, or None before the first.

        Raises:
            ValueError: If the file is none, or of another format.
        """
        if not self.state_file.is_file():
            return None
        try:
            state = torch.load(self.state_file, map_location="cpu", weights_only=True)
        except Exception as error:
            # torch raises a dozen different ones for a file that is not its own
            raise ValueError(
                f"{self.state_file} is not the state of a training: {type(error).__name__}: "
                f"{error}; remove it to train from the start"
            ) from error
        if state.get("format") != FORMAT:
            raise ValueError(
                f"{self.state_file} is of format {state.get('format')} and this version of mlla "
                f"reads {FORMAT}; go on with the version that wrote it"
            )
        return state

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Write the state whole, which makes its epoch count as done."""
        with replacing_file(self.state_file) as draft:
            torch.save({"format": FORMAT, **state}, draft)

    def write_results(self, rows: Sequence[Row]) -> None:
        """Write results.csv, a row an epoch."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        with replacing_file(self.results_file) as draft:
            draft.write_text(text.getvalue(), encoding="utf-8")

    def writing_last(self) -> AbstractContextManager[Path]:
        """Give the folder that becomes `last` when the context ends well."""
        return replacing_folder(self.last)

    def make_last_the_best(self) -> None:
        """Copy `last` to `best`."""
        with replacing_folder(self.best) as draft:
            shutil.copytree(self.last, draft, dirs_exist_ok=True)


def _check_same(path: Path, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    names = [name for name in {**recorded, **asked} if name not in FREE_ARGUMENTS]
    differences = [
        f"{name} was {recorded.get(name)!r} and is now {asked.get(name)!r}"
        for name in names
        if recorded.get(name) != asked.get(name)
    ]
    if differences:
        raise ValueError(
            f"out={path} holds a training with other arguments: {'; '.join(differences)}. Give the "
            "same ones to go on with it, or another out"
        )
