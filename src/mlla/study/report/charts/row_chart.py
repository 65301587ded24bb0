"""A chart with one row for each arm: name, marks on a common axis, and figures in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlla.study.report.charts.canvas import (
    FAINT,
    GRID,
    LINE_PX,
    SMALL_TEXT_PX,
    add_axes,
    new_figure,
    text_width,
    wrap,
    write,
)

WIDTH_PX, MAX_LABEL_PX = 800, 200
_TOP_PX, _AXIS_PX, _GAP_PX = 26, 52, 14


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        label: What stands on the left.
        figures: What stands in the columns on the right.
        is_heading: True for a row that only heads those below it.
    """

    label: str
    figures: tuple[str, ...] = ()
    is_heading: bool = False


@dataclass(frozen=True)
class RowChart:
    """An empty chart, to be drawn on.

    Attributes:
        figure: All of it.
        axes: Where the marks go; its vertical unit is the pixel, from the top down.
        middles: Vertical place of each row.
    """

    figure: Figure
    axes: Axes
    middles: list[float]


def new_row_chart(rows: Sequence[Row], columns: Sequence[str], x_label: str) -> RowChart:
    """Lay out rows, however many there are and however long their names.

    Args:
        rows: The rows from the top down.
        columns: Titles of the columns of figures.
        x_label: What the axis shows, with its unit.

    Returns:
        The chart, without marks.
    """
    lines = [
        [row.label] if row.is_heading else wrap(row.label, MAX_LABEL_PX) or [""] for row in rows
    ]
    widths = [
        text_width(line)
        for row, of in zip(rows, lines, strict=True)
        for line in of
        if not row.is_heading
    ]
    left = max(widths, default=0.0) + 2 * _GAP_PX
    right_sides, right = _columns(rows, columns)
    heights = [max(30, LINE_PX * len(of) + 12) for of in lines]
    inside = sum(heights)
    figure = new_figure(WIDTH_PX, _TOP_PX + inside + _AXIS_PX)
    axes = add_axes(figure, left, _TOP_PX, WIDTH_PX - left - right, inside)
    axes.set_ylim(inside, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.locator_params(axis="x", nbins=7)
    middle = left + (WIDTH_PX - left - right) / 2
    # a long title of the axis stays inside the figure
    reach = text_width(x_label) / 2
    middle = min(max(middle, reach), WIDTH_PX - reach)
    write(figure, x_label, middle, _TOP_PX + inside + 36, ha="center")
    for title, side in zip(columns, right_sides, strict=True):
        write(figure, title, side, _TOP_PX / 2, ha="right", fontsize=SMALL_TEXT_PX, color=FAINT)
    middles, top = [], 0.0
    for row, of, height in zip(rows, lines, heights, strict=True):
        middle = top + height / 2
        for index, line in enumerate(of):
            place = _TOP_PX + middle + LINE_PX * (index - (len(of) - 1) / 2)
            # a heading may reach across the axes
            style = {"weight": "bold", "backgroundcolor": "white"} if row.is_heading else {}
            write(figure, line, 0, place, **style)
        for text, side in zip(row.figures, right_sides, strict=False):
            write(figure, text, side, _TOP_PX + middle, ha="right", fontsize=SMALL_TEXT_PX)
        middles.append(middle)
        top += height
    return RowChart(figure, axes, middles)


def _columns(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[float], float]:
    """Return the right edges of the columns, and the width of all of them together."""
    widths = [
        max(
            text_width(text, SMALL_TEXT_PX)
            for text in (title, *(row.figures[index] for row in rows if row.figures))
        )
        for index, title in enumerate(columns)
    ]
    edges, edge = [], float(WIDTH_PX)
    for width in reversed(widths):
        edges.append(edge)
        edge -= width + _GAP_PX
    return edges[::-1], WIDTH_PX - edge
