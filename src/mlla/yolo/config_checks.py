# SPDX-License-Identifier: AGPL-3.0-only
"""What is wrong with a model configuration, said before Ultralytics reads it."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

import torch
import torchvision
from ultralytics.nn import tasks

from mlla.yolo.expand import Config, rows_of
from mlla.yolo.register import registered_rows

# rows that make Ultralytics' parser build the class branch of YOLO11 and later
_MODERN = ("C3k2", "A2C2f", "C2fCIB")
# heads that have the branch of YOLOv8 without such a row
_HEADS_OF_TWO_KINDS = ("Detect", "Segment", "Pose", "OBB", "Segment26", "Pose26", "OBB26")


def check_rows(config: Config, path: Path) -> None:
    """Raise on a row that Ultralytics would fail on with a puzzle.

    Args:
        config: The configuration.
        path: What it was asked for as, for the message.

    Raises:
        ValueError: If a row is malformed, reads from a later one or names an unknown module.
    """
    known = {name for name, value in vars(tasks).items() if isinstance(value, type)}
    for number, row in enumerate(rows_of(config)):
        if not _is_row(row):
            raise ValueError(
                f"{path}: row {number} is {row!r}, but a row is [from, repeats, module, "
                "[arguments]], where 'from' is one row or a list of rows and 'repeats' at least 1"
            )
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        # the image is row -1 of row 0
        if any(not -max(number, 1) <= source < number for source in sources):
            raise ValueError(f"{path}: row {number} reads from {row[0]}, which is no row before it")
        module = row[2]
        if module in registered_rows() and (
            len(sources) > 1 or not row[3] or not isinstance(row[3][0], int)
        ):
            raise ValueError(
                f"{path}: row {number} is {row!r}, but {module} reads one row and its first "
                "argument is its width"
            )
        if module.startswith("nn."):
            found = hasattr(torch.nn, module[3:])
        elif module.startswith("torchvision.ops."):
            found = hasattr(torchvision.ops, module[16:])
        else:
            found = module in known
        if not found:
            near = get_close_matches(module, known, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise ValueError(
                f"{path}: row {number} names the unknown module {module!r}.{hint} "
                f"Rows of this package: {', '.join(sorted(registered_rows()))}"
            )


def check_head(config: Config, path: Path) -> None:
    """Raise where Ultralytics would silently build the detection head of an older family.

    Args:
        config: The configuration.
        path: What it was asked for as: the family in its name says which head is meant.

    Raises:
        ValueError: If a model of YOLO11 or later, by name or rows, would get that of YOLOv8.
    """
    modules = [row[2] for row in rows_of(config)]
    family = re.search(r"yolov?(\d+)", path.stem)
    newer = (
        int(family[1]) >= 11
        if family
        else any(module.startswith((*_MODERN, "C2PSA")) for module in modules)
    )
    ours = any(module in registered_rows() for module in modules)
    two_kinds = modules[-1] in _HEADS_OF_TWO_KINDS
    if newer and ours and two_kinds and not any(module in _MODERN for module in modules):
        raise ValueError(
            f"{path}: Ultralytics builds the head of YOLO11 and later only where it finds a C3k2 "
            "or A2C2f of its own, and without one silently takes that of YOLOv8; keep one, such as "
            "row 2 (P2), where MLLA blocks cost most"
        )


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    sources, repeats, module, arguments = row
    numbers = [*(sources if isinstance(sources, list) else [sources]), repeats]
    return (
        all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        and len(numbers) > 1
        and repeats > 0
        and isinstance(module, str)
        and isinstance(arguments, list)
    )
