"""Accuracy beside the time per image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.canvas import (
    GRID,
    LINE_PX,
    SMALL_TEXT_PX,
    add_axes,
    new_figure,
    text_width,
    wrap,
    write,
)

_WIDTH_PX, _PLOT_PX, _LEFT_PX, _TOP_PX, _AXIS_PX = 800, 300, 52, 30, 54
_KEY_PX, _MAX_KEY_PX = 28, 250
# times closer than this are shown as close
_MIN_RELATIVE_RANGE = 0.25


def runtimes_of(results: Mapping[str, Any]) -> list[str]:
    """Return the runtimes that any arm was timed or tried in."""
    return list(dict.fromkeys(name for arm in results["arms"] for name in times_of(arm)))


def times_of(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the time per image of an arm, by runtime."""
    return (arm.get("cost") or {}).get("latency") or {}


def accuracy_latency(
    results: Mapping[str, Any],
    styles: Mapping[str, ArmStyle],
    texts: Mapping[str, str],
    runtime: str,
) -> Figure | None:
    """Draw the mean AP of the arms over their time per image.

    Args:
        results: Content of results.json.
        styles: Of the arms.
        texts: Of the language.
        runtime: Where the time was measured.

    Returns:
        The figure, or None if no arm has both.
    """
    drawn = {}
    for arm in results["arms"]:
        time = times_of(arm).get(runtime) or {}
        if time.get("median_ms") is not None and arm["mean"].get("AP") is not None:
            drawn[arm["name"]] = (arm, time)
    if not drawn:
        return None
    names = {name: wrap(name, _MAX_KEY_PX, SMALL_TEXT_PX) for name in styles if name in drawn}
    key_width = _KEY_PX + max(
        text_width(line, SMALL_TEXT_PX) for lines in names.values() for line in lines
    )
    key_height = sum(LINE_PX * len(lines) + 6 for lines in names.values())
    plot_height = max(_PLOT_PX, key_height)
    figure = new_figure(_WIDTH_PX, _TOP_PX + plot_height + _AXIS_PX)
    plot_width = _WIDTH_PX - _LEFT_PX - key_width - 16
    axes = add_axes(figure, _LEFT_PX, _TOP_PX, plot_width, plot_height)
    axes.grid(color=GRID, linewidth=0.8)
    write(figure, texts["ap_axis"], 0, 12)
    x_label = texts["latency_axis"].format(runtime=runtime)
    bottom = _TOP_PX + plot_height + 38
    write(figure, x_label, _LEFT_PX + plot_width / 2, bottom, ha="center")
    top = _TOP_PX + 8.0
    key = axes.figure.add_axes((0, 0, 1, 1), facecolor="none")
    key.set(xlim=(0, _WIDTH_PX), ylim=(_TOP_PX + plot_height + _AXIS_PX, 0))
    key.axis("off")
    for name, lines in names.items():
        arm, time = drawn[name]
        style, ap, spread = styles[name], 100 * arm["mean"]["AP"], arm["std"].get("AP")
        middle = time["median_ms"]
        axes.errorbar(
            middle,
            ap,
            xerr=[[middle - time["low_ms"]], [time["high_ms"] - middle]],
            yerr=None if spread is None else 100 * spread,
            elinewidth=1.2,
            **style.dot(9),
        )
        left = _WIDTH_PX - key_width + 8
        key.plot(left, top, **style.dot(9))
        for line in lines:
            write(figure, line, left + _KEY_PX - 10, top, fontsize=SMALL_TEXT_PX)
            top += LINE_PX
        top += 6
    _widen(axes)
    return figure


def _widen(axes: Any) -> None:
    """Keep times that hardly differ from filling the axis."""
    low, high = axes.get_xlim()
    middle = (low + high) / 2
    half = max((high - low) / 2, _MIN_RELATIVE_RANGE / 2 * middle)
    axes.set_xlim(max(0.0, middle - half), middle + half)
