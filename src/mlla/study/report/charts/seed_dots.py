"""AP of every single run, one row for each arm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.canvas import FAINT, INK
from mlla.study.report.charts.row_chart import Row, new_row_chart
from mlla.study.report.numbers import points_with_spread

# neighbours of nearly the same AP are set apart, up and down in turn
_LANES_PX = (0.0, -5.0, 5.0, -2.5, 2.5)


def seed_dots(
    results: Mapping[str, Any], styles: Mapping[str, ArmStyle], texts: Mapping[str, str]
) -> Figure:
    """Draw a dot for each run, and a line at the mean of each arm.

    Args:
        results: Content of results.json.
        styles: Of the arms, in the order of the rows.
        texts: Of the language.

    Returns:
        The figure.
    """
    arms = {arm["name"]: arm for arm in results["arms"]}
    num_seeds = len(results["seeds"])
    scores = {
        name: sorted(
            100 * run["summary"]["AP"]
            for run in arms[name]["runs"]
            if run["summary"]["AP"] is not None
        )
        for name in styles
    }
    rows = [
        Row(
            name,
            (
                points_with_spread(arms[name]["mean"].get("AP"), arms[name]["std"].get("AP")),
                texts["runs_of"].format(finished=len(scores[name]), planned=num_seeds),
            ),
        )
        for name in styles
    ]
    chart = new_row_chart(rows, (texts["mean_and_std"], texts["runs"]), texts["ap_axis"])
    everything = [score for of in scores.values() for score in of]
    if everything:
        room = max(0.08 * (max(everything) - min(everything)), 0.3)
        chart.axes.set_xlim(min(everything) - room, max(everything) + room)
    for (name, style), middle in zip(styles.items(), chart.middles, strict=True):
        if not scores[name]:
            place = sum(chart.axes.get_xlim()) / 2
            chart.axes.text(
                place, middle, texts["no_run"], ha="center", va="center", fontsize=12, color=FAINT
            )
            continue
        mean = 100 * arms[name]["mean"]["AP"]
        chart.axes.plot([mean] * 2, [middle - 11, middle + 11], color=INK, linewidth=1.6, zorder=2)
        lanes = [middle + _LANES_PX[place % 5] for place in range(len(scores[name]))]
        chart.axes.plot(scores[name], lanes, zorder=3, **style.dot(6))
    return chart.figure
