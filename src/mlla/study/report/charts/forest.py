"""Differences of AP with their intervals, one row for each comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.canvas import INK
from mlla.study.report.charts.row_chart import Row, RowChart, new_row_chart
from mlla.study.report.numbers import interval, probability, signed_points

FAMILIES = ("baseline", "control")
# an interval longer than this many times the middle one is cut, with an arrow
_MAX_REACH = 4.0


def forest_plot(
    results: Mapping[str, Any], styles: Mapping[str, ArmStyle], texts: Mapping[str, str]
) -> Figure | None:
    """Draw the differences against the baseline and against the convolution controls.

    Args:
        results: Content of results.json.
        styles: Of the arms.
        texts: Of the language.

    Returns:
        The figure, or None if nothing was compared.
    """
    order = list(styles)
    rows: list[Row] = []
    compared: list[dict[str, Any] | None] = []
    for family in FAMILIES:
        members = [one for one in results["comparisons"] if one["family"] == family]
        if not members:
            continue
        heading = texts[f"forest_{family}"].format(baseline=results["baseline"])
        rows.append(Row(heading, is_heading=True))
        compared.append(None)
        for one in sorted(members, key=lambda one: order.index(one["arm"])):
            gap = one["difference"]
            figures = (
                signed_points(gap["estimate"]),
                interval(gap["low"], gap["high"]),
                probability(one["adjusted_p_value"]),
            )
            rows.append(Row(one["arm"], figures))
            compared.append(one)
    if not rows:
        return None
    columns = (texts["difference"], texts["interval"], texts["p_corrected"])
    chart = new_row_chart(rows, columns, texts["forest_axis"])
    low, high = _limits([one["difference"] for one in compared if one], results["margin"])
    chart.axes.set_xlim(low, high)
    margin = 100 * results["margin"]
    chart.axes.axvspan(-margin, margin, color="#eeeeee", linewidth=0, zorder=0)
    chart.axes.axvline(0, color=INK, linewidth=1.2, zorder=1)
    for one, middle in zip(compared, chart.middles, strict=True):
        if one is not None:
            _draw(chart, one, middle, styles[one["arm"]])
    return chart.figure


def _limits(gaps: Sequence[Mapping[str, Any]], margin: float) -> tuple[float, float]:
    """Return the ends of the axis in points: zero and every estimate lie inside."""
    halves = sorted((gap["high"] - gap["low"]) / 2 for gap in gaps if gap["low"] is not None)
    longest = _MAX_REACH * halves[len(halves) // 2] if halves else 0.0
    ends = [-1.5 * margin, 1.5 * margin]
    for gap in gaps:
        if gap["estimate"] is None:
            continue
        half = 0.0 if gap["low"] is None else min((gap["high"] - gap["low"]) / 2, longest)
        ends += [gap["estimate"] - half, gap["estimate"] + half]
    room = 0.06 * (max(ends) - min(ends))
    return 100 * (min(ends) - room), 100 * (max(ends) + room)


def _draw(chart: RowChart, one: Mapping[str, Any], middle: float, style: ArmStyle) -> None:
    """Draw one interval and its estimate."""
    gap = one["difference"]
    if gap["estimate"] is None:
        return
    left, right = chart.axes.get_xlim()
    if gap["low"] is not None:
        low, high = 100 * gap["low"], 100 * gap["high"]
        ends = [max(low, left), min(high, right)]
        chart.axes.plot(ends, [middle] * 2, color=style.color, linewidth=2.2, zorder=2)
        for end, is_cut, marker in ((ends[0], low < left, "<"), (ends[1], high > right, ">")):
            shape = marker if is_cut else "|"
            chart.axes.plot(
                end, middle, shape, color=style.color, markersize=8, clip_on=False, zorder=2
            )
    chart.axes.plot(100 * gap["estimate"], middle, zorder=3, **style.dot(8))
