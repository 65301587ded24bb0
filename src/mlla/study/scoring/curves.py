"""How the runs of an arm went, epoch by epoch, as their results.csv tells."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_AP, _AP50 = "metrics/mAP50-95(B)", "metrics/mAP50(B)"


def read_curves(files: Sequence[Path]) -> dict[str, list[Any]]:
    """Read the curves of several runs.

    Args:
        files: The results.csv of each run, as Ultralytics writes it.

    Returns:
        "epoch", and one list per run of "AP" and "AP50" on the validation images and of
        "train_loss", the sum of all parts of the loss; None where a run has no number.

    Raises:
        ValueError: If a file is no table of epochs with these columns.
    """
    tables = [_read(file) for file in files]
    epochs = sorted({epoch for table in tables for epoch in table})
    empty: dict[str, float | None] = dict.fromkeys(("AP", "AP50", "train_loss"))
    return {
        "epoch": epochs,
        **{
            key: [[table.get(epoch, empty)[key] for epoch in epochs] for table in tables]
            for key in empty
        },
    }


def _read(file: Path) -> dict[int, dict[str, float | None]]:
    """Return the numbers of each epoch; a training resumed twice may have written one again."""
    found = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            # older versions pad the names with blanks
            cells = {str(name).strip(): value for name, value in row.items()}
            try:
                losses = [
                    float(value)
                    for name, value in cells.items()
                    if name.startswith("train/") and name.endswith("loss")
                ]
                found[int(cells["epoch"])] = {
                    "AP": _finite(float(cells[_AP])),
                    "AP50": _finite(float(cells[_AP50])),
                    "train_loss": _finite(sum(losses)),
                }
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{file} is not the table of a training of a detector: {error!r} at line "
                    f"{len(found) + 2}"
                ) from error
    return found


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None
