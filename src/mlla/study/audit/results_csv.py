"""The results.csv of a run, as Ultralytics of any release writes it."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

# the score that a claim is about, by task
SCORE_COLUMNS = {
    "detect": "metrics/mAP50-95(B)",
    "obb": "metrics/mAP50-95(B)",
    "segment": "metrics/mAP50-95(M)",
    "pose": "metrics/mAP50-95(P)",
    "classify": "metrics/accuracy_top1",
}


@dataclass(frozen=True)
class Epochs:
    """One row for each epoch of a run.

    Attributes:
        numbers: Numbers of the epochs, from 1.
        columns: Values of each column by its name; NaN where there is no number.
        problems: What is wrong with the file, one sentence each.
    """

    numbers: tuple[int, ...] = ()
    columns: dict[str, tuple[float, ...]] | None = None
    problems: tuple[str, ...] = ()

    def column(self, name: str) -> tuple[float, ...]:
        """Return the values of a column; empty if the file has no such column."""
        return (self.columns or {}).get(name, ())

    @property
    def measured(self) -> tuple[tuple[float, ...], ...]:
        """All that was measured but the clock: two trainings never share it by chance."""
        kept = [
            values
            for name, values in (self.columns or {}).items()
            if name.startswith(("train/", "metrics/", "val/"))
        ]
        return tuple(zip(*kept, strict=True))

    @property
    def bad_epochs(self) -> tuple[int, ...]:
        """Epochs with a loss or score that is no finite number."""
        return tuple(
            number
            for number, row in zip(self.numbers, self.measured, strict=True)
            if not all(map(math.isfinite, row))
        )


def read_epochs(file: Path) -> Epochs:
    """Read a results.csv.

    A training that was resumed may have written an epoch twice: the later row counts. One that
    was started anew in the same folder wrote behind the old rows: only its own count.

    Args:
        file: The file.

    Returns:
        Its rows; a broken file gives no or fewer rows and says so.
    """
    try:
        # null bytes are what a crash leaves of lines that were not on the disk yet
        text = file.read_bytes().decode("utf-8", "replace").replace("\0", "")
    except OSError as error:
        return Epochs(problems=(f"results.csv cannot be read ({error.strerror})",))
    lines = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
    if not lines:
        return Epochs(problems=("results.csv is empty",))
    # releases before 8.3 padded the names with spaces
    header = [name.strip() for name in lines[0]]
    if "epoch" not in header:
        return Epochs(problems=("results.csv has no column 'epoch', so it is not of a training",))
    problems: list[str] = []
    rows: dict[int, list[float]] = {}
    skipped = 0
    for cells in lines[1:]:
        values = [_number(cell) for cell in cells]
        epoch = values[header.index("epoch")] if len(values) == len(header) else math.nan
        if not math.isfinite(epoch):
            skipped += 1
            continue
        number = int(epoch)
        if number in rows and number == 1:
            problems.append("results.csv holds two trainings; only the last one counts here")
            rows.clear()
        # a resumed training repeats what it had lost
        rows = {earlier: row for earlier, row in rows.items() if earlier < number}
        rows[number] = values
    if skipped:
        problems.append(f"results.csv has {skipped} broken rows, which were left out")
    columns = {
        name: tuple(row[index] for row in rows.values()) for index, name in enumerate(header)
    }
    return Epochs(tuple(rows), columns, tuple(problems))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
