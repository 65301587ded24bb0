"""Training of one arm beside that of the baseline, with bands over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.canvas import (
    FAINT,
    GRID,
    LINE_PX,
    SMALL_TEXT_PX,
    add_axes,
    new_figure,
    wrap,
    write,
)

_WIDTH_PX, _PLOT_PX, _LEFT_PX, _RIGHT_PX, _AXIS_PX = 340, 150, 42, 10, 40


def training_curves(
    results: Mapping[str, Any],
    styles: Mapping[str, ArmStyle],
    texts: Mapping[str, str],
    quantity: str,
) -> dict[str, Figure]:
    """Draw one small figure for each arm, all with the same axes.

    Args:
        results: Content of results.json.
        styles: Of the arms, in the order of the figures.
        texts: Of the language.
        quantity: "AP" or "train_loss".

    Returns:
        Figures by the name of the arm; the baseline has one of its own only if nothing else has.
        Arms without curves have none.
    """
    scale = 100 if quantity == "AP" else 1
    curves = {}
    for arm in results["arms"]:
        found = arm.get("curves") or {}
        table = scale * _table(found.get(quantity) or [], len(found.get("epoch") or []))
        if np.isfinite(table).any():
            curves[arm["name"]] = (np.array(found["epoch"]), table)
    others = [name for name in styles if name in curves and name != results["baseline"]]
    shown = others or list(curves)
    if not shown:
        return {}
    seen = np.concatenate([table[np.isfinite(table)] for _, table in curves.values()])
    last = max(epochs.max() for epochs, _ in curves.values())
    first = min(epochs.min() for epochs, _ in curves.values())
    room = 0.05 * (seen.max() - seen.min()) or 1.0
    figures = {}
    lines_of = {name: wrap(name, _WIDTH_PX, SMALL_TEXT_PX, is_bold=True) for name in shown}
    most = max(len(lines) for lines in lines_of.values())
    for name in shown:
        top = LINE_PX * (most + 1) + 10
        figure = new_figure(_WIDTH_PX, top + _PLOT_PX + _AXIS_PX)
        axes = add_axes(figure, _LEFT_PX, top, _WIDTH_PX - _LEFT_PX - _RIGHT_PX, _PLOT_PX)
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_xlim(first - 0.02 * (last - first) - 1e-9, last + 0.02 * (last - first) + 1e-9)
        axes.set_ylim(seen.min() - room, seen.max() + room)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        for index, line in enumerate(lines_of[name]):
            write(figure, line, 0, 10 + LINE_PX * index, fontsize=SMALL_TEXT_PX, weight="bold")
        num_seeds = len(curves[name][1])
        key = "one_run" if num_seeds == 1 else "several_runs"
        runs = texts[key].format(count=num_seeds)
        subtitle = texts[f"curve_{quantity}"].format(runs=runs)
        write(figure, subtitle, 0, 10 + LINE_PX * most, fontsize=SMALL_TEXT_PX, color=FAINT)
        middle = _LEFT_PX + (_WIDTH_PX - _LEFT_PX - _RIGHT_PX) / 2
        bottom = top + _PLOT_PX + 31
        write(figure, texts["epoch"], middle, bottom, ha="center", fontsize=SMALL_TEXT_PX)
        for part in dict.fromkeys((results["baseline"], name)):
            if part in curves:
                _draw(axes, *curves[part], styles[part])
        figures[name] = figure
    return figures


def _table(rows: Sequence[Sequence[float | None]], num_epochs: int) -> Float[np.ndarray, "S E"]:
    """Return one row per seed; NaN where there is no number."""
    table = np.full((len(rows), num_epochs), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = [np.nan if value is None else value for value in row]
    return table


def _draw(axes: Any, epochs: np.ndarray, table: Float[np.ndarray, "S E"], style: ArmStyle) -> None:
    """Draw the mean over seeds and the band from the lowest to the highest."""
    known = np.isfinite(table).any(axis=0)
    epochs, table = epochs[known], table[:, known]
    low, high = np.nanmin(table, axis=0), np.nanmax(table, axis=0)
    axes.fill_between(epochs, low, high, color=style.color, alpha=0.2, linewidth=0)
    marker = style.marker if len(epochs) == 1 else None
    axes.plot(
        epochs,
        np.nanmean(table, axis=0),
        color=style.color,
        marker=marker,
        linewidth=1.8,
        linestyle="-" if style.is_filled else (0, (4, 1.5)),
    )
