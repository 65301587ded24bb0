"""A table as lines of text, for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def text_columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align cells in columns: the first to the left, numbers to the right.

    Args:
        titles: Of the columns.
        rows: Cells, as many in each row as there are titles.

    Returns:
        Lines without one for the frame.
    """
    lines = [list(titles), *map(list, rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            _padded(cell, width, to_the_left=not place)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _padded(cell: str, width: int, *, to_the_left: bool) -> str:
    room = " " * (width - _width(cell))
    return cell + room if to_the_left else room + cell


def _width(text: str) -> int:
    """Return how many places a terminal gives a text; Chinese letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
