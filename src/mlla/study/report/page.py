"""The page of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mlla.study.report import record, tables
from mlla.study.report.answers import answers, guards
from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.captions import captions
from mlla.study.report.charts.draw import Charts
from mlla.study.report.charts.latency import times_of
from mlla.study.report.name_parts import name_parts
from mlla.study.report.pictures import draw_pictures
from mlla.study.report.prose import SOURCES

_FOLDER = Path(__file__).parent


def render_page(
    results: Mapping[str, Any],
    styles: Mapping[str, ArmStyle],
    texts: Mapping[str, str],
    charts: Charts,
    *,
    language: str,
) -> str:
    """Return the page.

    Args:
        results: Content of results.json.
        styles: Of the arms, in the order in which they are shown.
        texts: Of the language.
        charts: The charts.
        language: "en" or "zh".

    Returns:
        HTML that needs no other file. Names and messages are escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    order = list(styles)
    return environment.get_template("page.html").render(
        language=language,
        t=texts,
        styles=styles,
        style_sheet=Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),
        charts=_as_markup(charts),
        curve_rows=_curve_rows(charts),
        **answers(results, order, texts),
        **guards(results, texts),
        **captions(results, texts),
        **_tables(results, order, texts),
        pictures=draw_pictures(results, texts),
        **record.record_of(results, order, texts),
        statistics=[texts[f"statistics_{number}"] for number in range(1, 6)],
        sources=SOURCES,
    )


def _breakable(text: str) -> Markup:
    """Let a line end inside long names."""
    return Markup("<wbr>").join(map(escape, name_parts(text)))


def _as_markup(charts: Charts) -> dict[str, Any]:
    """Mark the charts as what they are, elements of the page."""
    return {
        "forest": charts.forest and Markup(charts.forest),
        "dots": Markup(charts.dots),
        "latency": {name: chart and Markup(chart) for name, chart in charts.latency.items()},
    }


def _curve_rows(charts: Charts) -> list[list[Markup]]:
    """Put the curves of one quantity together, or those of all where there is one arm to show."""
    rows = [[Markup(chart) for chart in of] for of in charts.curves.values() if of]
    if all(len(row) == 1 for row in rows):
        rows = [[row[0] for row in rows]]
    return [row for row in rows if row]


def _tables(
    results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the tables, and what has to be said beside them."""
    # why there are no runs of an arm is said above
    trained = [arm for arm in results["arms"] if arm["runs"]]
    costs = {arm["name"]: arm.get("cost") or {} for arm in trained}
    return {
        "accuracy": tables.accuracy_table(results, order, texts),
        "cost": tables.cost_table(results, order, texts),
        "cost_notes": [
            texts["not_measured"].format(arm=name, error=cost["error"])
            for name, cost in costs.items()
            if cost.get("error")
        ]
        + [
            texts["gflops_disagree"].format(arm=name)
            for name, cost in costs.items()
            if cost.get("gflops_disagree")
        ],
        "times": tables.time_tables(results, order, texts),
        "latency_errors": [
            texts["latency_error"].format(arm=arm["name"], runtime=runtime, error=time["error"])
            for arm in trained
            for runtime, time in times_of(arm).items()
            if time and time.get("error")
        ],
        "equivalence": tables.equivalence_table(results, texts),
        "classes": tables.class_tables(results, order, texts),
        "errors": tables.error_tables(results, order, texts),
        "power": tables.power_table(results, texts),
    }
