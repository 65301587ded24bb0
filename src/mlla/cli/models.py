"""`mlla models`: every model with its parameters and GFLOPs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

from mlla.cli.arguments import UsageError, nearest


def run(_command: str, words: Sequence[str]) -> int:
    """Print the table, or the rows whose names contain every given word."""
    if any(word.startswith("-") for word in words):
        print("usage: mlla models [WORD ...]      list the models whose names contain the words")
        return 0 if words[0] in ("-h", "--help") else 2
    table = json.loads(files("mlla.cli").joinpath("models.json").read_text(encoding="utf-8"))
    rows = [row for row in table["models"] if all(word in row["name"] for word in words)]
    if not rows:
        known = [row["name"] for row in table["models"]]
        raise UsageError(f"no model's name contains {' '.join(words)!r}{nearest(words[0], known)}")
    width = max(len(row["name"]) for row in rows)
    print(f"{'model':<{width}}  {'task':<9}  {'parameters':>11}  {'GFLOPs':>7}  at")
    for row in rows:
        print(
            f"{row['name']:<{width}}  {row['task']:<9}  {row['parameters']:>11,}  "
            f"{row['gflops']:>7.1f}  {row['size_px']}"
        )
    print(f"\n{table['note']}")
    return 0
