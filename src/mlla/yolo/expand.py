# SPDX-License-Identifier: AGPL-3.0-only
"""Model configurations from model configurations: pure functions, dict to dict.

A configuration is what Ultralytics reads from a model YAML: `backbone` and `head` are lists of
rows `[from, repeats, module, arguments]`, numbered through; `from` is a row number or -1.
"""

from __future__ import annotations

from copy import deepcopy
from difflib import SequenceMatcher
from typing import Any

Config = dict[str, Any]

SUFFIX_OF_TASK = {"detect": "", "segment": "seg", "pose": "pose", "obb": "obb", "classify": "cls"}


def rows_of(config: Config) -> list[list[Any]]:
    """Return the rows of backbone and head in one list."""
    return [*config["backbone"], *config["head"]]


def with_task(config: Config, suffix: str, stock: Config) -> Config:
    """Turn a detector's configuration into that of another task.

    Args:
        config: A detector, its last row the head.
        suffix: "seg", "pose", "obb" or "cls". A classifier is the backbone without its SPPF.
        stock: Ultralytics' own configuration of that family and task, which lends its head.

    Returns:
        A new configuration.

    Raises:
        ValueError: If the task is unknown.
    """
    if suffix not in SUFFIX_OF_TASK.values() or not suffix:
        known = sorted(filter(None, SUFFIX_OF_TASK.values()))
        raise ValueError(f"task suffix {suffix!r} is unknown; choose from {known}")
    config = deepcopy(config)
    _, _, module, arguments = deepcopy(stock["head"][-1])
    if suffix == "cls":
        config["backbone"] = [row for row in config["backbone"] if row[2] != "SPPF"]
        config["head"] = [[-1, 1, module, arguments]]
        # stock classifiers of YOLOv8 keep the full width of the deepest stage at every scale
        widest = {scale: numbers[2] for scale, numbers in stock["scales"].items()}
        config["scales"] = {
            k: [d, w, widest.get(k, c)] for k, (d, w, c) in config["scales"].items()
        }
        # how a detector's head predicts boxes
        return {key: value for key, value in config.items() if key not in ("end2end", "reg_max")}
    config["head"][-1][2:] = [module, arguments]
    if suffix == "pose":
        config["nc"], config["kpt_shape"] = 1, deepcopy(stock["kpt_shape"])
    return config


def insert_after(config: Config, rows: dict[int, list[Any]]) -> tuple[Config, dict[int, int]]:
    """Insert a row after each given row; whoever read the old row reads the new one.

    Args:
        config: The configuration to extend.
        rows: Row number to `[repeats, module, arguments]` of the row to insert behind it.

    Returns:
        The new configuration and the new number of every old row.
    """
    return _insert(config, dict(sorted(rows.items())), before_head=False)


def insert_before_head(config: Config, rows: dict[int, list[Any]]) -> tuple[Config, dict[int, int]]:
    """Insert rows between the given rows and the head; nobody but the head reads them.

    Args:
        config: The configuration to extend.
        rows: Number of a row that the head reads to `[repeats, module, arguments]`.

    Returns:
        The new configuration and the new number of every old row.
    """
    return _insert(config, rows, before_head=True)


def _insert(
    config: Config, inserted: dict[int, list[Any]], *, before_head: bool
) -> tuple[Config, dict[int, int]]:
    old = with_absolute_sources(rows_of(config))
    head = len(old) - 1
    # the order of the new network: old rows by number, new ones as ("after", row)
    order: list[tuple[str, int]] = []
    for number in range(len(old)):
        if before_head and number == head:
            order += [("after", row) for row in inserted]
        order.append(("old", number))
        if not before_head and number in inserted:
            order.append(("after", number))
    position = {entry: index for index, entry in enumerate(order)}

    def source(reader: int, row: int) -> int:
        passes = row in inserted and (not before_head or reader == head)
        return position["after" if passes else "old", row]

    new: list[list[Any]] = []
    for kind, number in order:
        if kind == "after":
            new.append([position["old", number], *deepcopy(inserted[number])])
        else:
            sources, *rest = deepcopy(old[number])
            if isinstance(sources, list):
                sources = [s if s < 0 else source(number, s) for s in sources]
            elif sources >= 0:
                sources = source(number, sources)
            new.append([sources, *rest])
    row_map = {number: position["old", number] for number in range(len(old))}
    last_of_backbone = len(config["backbone"]) - 1
    split = position.get(("after", last_of_backbone), row_map[last_of_backbone]) + 1
    if before_head:
        split = row_map[last_of_backbone] + 1
    return {**deepcopy(config), "backbone": new[:split], "head": new[split:]}, row_map


def with_absolute_sources(rows: list[list[Any]]) -> list[list[Any]]:
    """Replace relative sources by the numbers they stand for; -1 of row 0, the image, stays.

    Args:
        rows: Rows of backbone and head.

    Returns:
        New rows.
    """

    def absolute(source: int, number: int) -> int:
        return source if source >= 0 or number == 0 else number + source

    return [
        [
            [absolute(s, number) for s in sources]
            if isinstance(sources, list)
            else absolute(sources, number),
            *rest,
        ]
        for number, (sources, *rest) in enumerate(rows)
    ]


def matching_rows(source: Config, target: Config) -> dict[int, int]:
    """Pair the rows of two configurations that play the same part.

    Rows that name the same module with the same arguments pair up in order; a stretch of rows that
    was replaced by as many others pairs one by one (C2f with C2fMLLA).

    Args:
        source: The configuration that the weights come from.
        target: The configuration that they go to.

    Returns:
        Row number in `source` to row number in `target`.
    """
    parts = [[(module, repr(args)) for _, _, module, args in rows_of(c)] for c in (source, target)]
    pairs: dict[int, int] = {}
    matcher = SequenceMatcher(a=parts[0], b=parts[1], autojunk=False)
    for tag, a_start, a_end, b_start, b_end in matcher.get_opcodes():
        if tag == "equal" or (tag == "replace" and a_end - a_start == b_end - b_start):
            pairs.update(zip(range(a_start, a_end), range(b_start, b_end), strict=True))
    return pairs
