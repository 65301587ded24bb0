"""The charts: effects beside the published ones, and figures 4b and 5 of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlla.study.report import numbers
from mlla.study.report.charts.canvas import (
    FAINT,
    GRID,
    INK,
    SMALL_TEXT_PX,
    add_axes,
    chart_settings,
    new_figure,
    text_width,
    to_svg,
    write,
)
from mlla.study.report.charts.row_chart import Row, new_row_chart
from mlla.study.six_designs.published_effects import BASELINE, FORGET_GATE

COLORS = {BASELINE: "#222222", "no_norm": "#d55e00", FORGET_GATE: "#0072b2"}
_OURS = "#0072b2"
_WIDTH_PX, _PLOT_PX, _LEFT_PX, _RIGHT_PX, _TOP_PX, _AXIS_PX = 520, 220, 62, 12, 34, 48

# by row, the numbers of each block of each run
Series = Mapping[str, Sequence[Sequence[float]]]


def draw_charts(results: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, str]:
    """Draw everything that there are numbers for.

    Args:
        results: Content of results.json.
        texts: Of the language.

    Returns:
        SVG elements by name: "effects", "figure-4b" and "figure-5".
    """
    labels = {row["name"]: row["label"] for row in results["rows"]}
    gates = measured(results, "forget_gate_averages", (FORGET_GATE,))
    lengths = measured(results, "token_length_deviations", (BASELINE, "no_norm"))
    charts: dict[str, str] = {}
    with chart_settings():
        if results["effects"]:
            charts["effects"] = to_svg(_effects(results, labels, texts), "effects", texts["axis"])
        if gates:
            figure = block_chart(gates, labels, texts["block"], texts["gate_axis"], top=1.0)
            charts["figure-4b"] = to_svg(figure, "figure-4b", texts["figure_4b"])
        if lengths:
            figure = block_chart(lengths, labels, texts["block"], texts["length_axis"])
            charts["figure-5"] = to_svg(figure, "figure-5", texts["figure_5"])
    return charts


def measured(results: Mapping[str, Any], quantity: str, rows: Sequence[str]) -> Series:
    """Return what was measured of the finished runs of some rows, a list of blocks a run."""
    found = {
        row["name"]: [run[quantity] for run in row["runs"] if run[quantity] is not None]
        for row in results["rows"]
        if row["name"] in rows
    }
    return {row: runs for row, runs in found.items() if runs}


def block_chart(
    series: Series,
    labels: Mapping[str, str],
    x_label: str,
    y_label: str,
    *,
    top: float | None = None,
) -> Figure:
    """Draw a quantity over the blocks: mean over seeds, and the band from lowest to highest.

    Args:
        series: What to draw.
        labels: What to call the rows.
        x_label: Of the horizontal axis.
        y_label: Of the vertical axis, which begins at 0.
        top: Where the vertical axis ends; by default above everything.
    """
    figure = new_figure(_WIDTH_PX, _TOP_PX + _PLOT_PX + _AXIS_PX)
    axes = add_axes(figure, _LEFT_PX, _TOP_PX, _WIDTH_PX - _LEFT_PX - _RIGHT_PX, _PLOT_PX)
    axes.grid(color=GRID, linewidth=0.8)
    place = float(_LEFT_PX)
    for row, runs in series.items():
        table = np.array(runs)
        blocks, color = np.arange(1, table.shape[1] + 1), COLORS[row]
        axes.fill_between(blocks, table.min(0), table.max(0), color=color, alpha=0.2, linewidth=0)
        axes.plot(blocks, table.mean(0), "o-", color=color, linewidth=1.8, markersize=4)
        # the key stands above the axes, so that it hides nothing
        write(figure, labels[row], place, 12, fontsize=SMALL_TEXT_PX, color=color, weight="bold")
        place += text_width(labels[row], SMALL_TEXT_PX, is_bold=True) + 20
    axes.set_ylim(0, top)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
    middle = _LEFT_PX + (_WIDTH_PX - _LEFT_PX - _RIGHT_PX) / 2
    write(figure, x_label, middle, _TOP_PX + _PLOT_PX + 34, ha="center", fontsize=SMALL_TEXT_PX)
    write(
        figure,
        y_label,
        12,
        _TOP_PX + _PLOT_PX / 2,
        ha="center",
        va="center",
        rotation=90,
        fontsize=SMALL_TEXT_PX,
    )
    return figure


def _effects(
    results: Mapping[str, Any], labels: Mapping[str, str], texts: Mapping[str, str]
) -> Figure:
    """Draw our differences with their intervals, and the published ones."""
    rows: list[Row] = []
    shown: list[Mapping[str, Any] | None] = []
    for table in (1, 2):
        members = [one for one in results["effects"] if one["table"] == table]
        if members:
            rows.append(Row(texts[f"table_{table}"], is_heading=True))
            shown.append(None)
        for one in members:
            gap = one["difference"]
            figures = (
                numbers.signed_points(one["points"] / 100),
                numbers.signed_points(gap["estimate"]),
                numbers.interval(gap["low"], gap["high"]),
                texts[one["sign"]],
            )
            rows.append(Row(labels[one["row"]], figures))
            shown.append(one)
    columns = (texts["published"], texts["here"], texts["interval"], texts["sign"])
    chart = new_row_chart(rows, columns, texts["axis"])
    chart.axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    for one, middle in zip(shown, chart.middles, strict=True):
        if one is None:
            continue
        gap = one["difference"]
        if gap["low"] is not None:
            ends = [100 * gap["low"], 100 * gap["high"]]
            chart.axes.plot(ends, [middle] * 2, "|-", color=_OURS, linewidth=2.2, zorder=2)
        chart.axes.plot(100 * gap["estimate"], middle, "o", color=_OURS, markersize=8, zorder=3)
        chart.axes.plot(
            one["points"],
            middle,
            "D",
            color=FAINT,
            markersize=6,
            markerfacecolor="white",
            markeredgewidth=1.5,
            zorder=4,
        )
    return chart.figure
