"""One line of an Ultralytics label file: a box, or the outline of an object."""

from __future__ import annotations

from pathlib import Path

from mlla.data.report import Kind
from mlla.data.shapes import BadShapeError, finite_numbers


class UnreadableLabelsError(Exception):
    """A label file that is no text; says why."""


def read_label_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines that are not blank, each with its number counted from 1.

    Raises:
        UnreadableLabelsError: If the file cannot be read as UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableLabelsError(f"no UTF-8 text: {error}") from error
    return [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]


def parse_label_line(line: str) -> tuple[int, tuple[float, ...]]:
    """Read a class id and its numbers.

    Five columns are a box (class, centre x, centre y, width, height); an odd number of seven or
    more is a polygon (class, then x, y of each point).

    Args:
        line: One line that is not blank.

    Returns:
        The class id and the numbers behind it.

    Raises:
        BadShapeError: If the number of columns is another, or a column is no finite number, or
            the class is not a whole number from 0.
    """
    columns = line.split()
    if len(columns) != 5 and (len(columns) < 7 or len(columns) % 2 == 0):
        detail = f"{len(columns)} columns; a box has 5, a polygon an odd number of 7 or more"
        raise BadShapeError(Kind.BAD_OBJECT, detail)
    class_number, *numbers = finite_numbers(columns)
    if class_number < 0 or class_number != int(class_number):
        raise BadShapeError(Kind.BAD_OBJECT, f"class {columns[0]} is not a whole number from 0")
    return int(class_number), tuple(numbers)
