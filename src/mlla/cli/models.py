"""`mlla models`: every model with its parameters and GFLOPs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from typing import Any

from mlla.cli.arguments import UsageError, nearest

Row = dict[str, Any]


def run(_command: str, words: Sequence[str]) -> int:
    """Print a line for each architecture, or for each model whose name contains every word."""
    if any(word.startswith("-") for word in words):
        print(
            "usage: mlla models [WORD ...]      list every size and task whose name has the words"
        )
        return 0 if words[0] in ("-h", "--help") else 2
    table = json.loads(files("mlla.cli").joinpath("models.json").read_text(encoding="utf-8"))
    rows = [row for row in table["models"] if all(word in row["name"] for word in words)]
    if not rows:
        known = [row["name"] for row in table["models"]]
        raise UsageError(f"no model's name contains {' '.join(words)!r}{nearest(words[0], known)}")
    _print(rows if words else list(_architectures(rows)))
    if not words:
        print(f"\nOne line for each architecture, at its smallest size; {len(rows)} models in all:")
        print("`mlla models yolo11 c3k2` lists every size and task whose name has the words.")
    print(f"\n{table['note']}")
    return 0


def _architectures(rows: list[Row]) -> Iterator[Row]:
    """Yield the smallest detector of each architecture, with the sizes and tasks there are."""
    for _, group in groupby(rows, key=lambda row: row["architecture"]):
        models = list(group)
        sizes = "".join(dict.fromkeys(model["size"] for model in models))
        tasks = ", ".join(dict.fromkeys(model["task"] for model in models))
        yield {**models[0], "sizes": sizes, "task": tasks}


def _print(rows: list[Row]) -> None:
    name, task = (max(len(row[key]) for row in rows) for key in ("name", "task"))
    # only the lines of architectures have sizes
    sizes = "sizes  " if "sizes" in rows[0] else ""
    print(f"{'model':<{name}}  {sizes}{'task':<{task}}  {'parameters':>11}  {'GFLOPs':>7}  at")
    for row in rows:
        letters = f"{row['sizes']:<{len(sizes)}}" if sizes else ""
        print(
            f"{row['name']:<{name}}  {letters}{row['task']:<{task}}  {row['parameters']:>11,}  "
            f"{row['gflops']:>7.1f}  {row['size_px']}"
        )
