"""The page of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mlla.study.report import numbers, record, tables
from mlla.study.report.arm_style import ArmStyle
from mlla.study.report.charts.draw import Charts
from mlla.study.report.charts.latency import times_of
from mlla.study.report.pictures import draw_pictures
from mlla.study.report.prose import SOURCES

# what a reader must see first
_STATES = ("failed", "not checked", "warning", "passed")
# more arms than this are counted in the title
MAX_NAMED = 2
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
        **_head(results, order, texts),
        **_guards(results, texts),
        **_captions(results, texts),
        **_tables(results, order, texts),
        pictures=draw_pictures(results, texts),
        **record.record_of(results, order, texts),
        statistics=[texts[f"statistics_{number}"] for number in range(1, 6)],
        sources=SOURCES,
    )


def _breakable(text: str) -> Markup:
    """Let a line end behind the separators inside names."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=\w[-+@_./])(?=\w)", text))


def _as_markup(charts: Charts) -> dict[str, Any]:
    """Mark the charts as what they are, elements of the page."""
    return {
        "forest": charts.forest and Markup(charts.forest),
        "dots": Markup(charts.dots),
        "latency": {name: chart and Markup(chart) for name, chart in charts.latency.items()},
        "curves": {name: [Markup(one) for one in of] for name, of in charts.curves.items()},
    }


def _head(
    results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the question, the answers, and what is missing."""
    kinds = {arm["name"]: arm["kind"] for arm in results["arms"]}
    asked = [name for name in order if kinds[name] in ("variant", "added")]
    data = record.data_name(results)
    comparisons = sorted(
        results["comparisons"],
        key=lambda one: (one["family"] != "baseline", order.index(one["arm"])),
    )
    claims = [one for one in comparisons if one["family"] == "baseline" and one["arm"] in asked]
    question = texts["question_one" if len(asked) == 1 else "question_several"]
    names = ", ".join(asked)
    many = texts["several_arms"].format(count=len(asked))
    in_title = names if len(asked) <= MAX_NAMED else many
    return {
        "title": texts["title"].format(arms=in_title, baseline=results["baseline"], data=data),
        "question": question.format(
            arms=names,
            baseline=results["baseline"],
            data=data,
            classes=len(results["data"]["names"]),
            images=_num_images(results),
            scored=results["scored"],
        ),
        "claims": claims,
        "controls": [one for one in comparisons if one not in claims],
        "points_meaning": texts["points_meaning"].format(margin=_margin(results)),
        "unjudged": [
            texts["unjudged"].format(arm=name, baseline=results["baseline"])
            for name in asked
            if name not in [one["arm"] for one in claims]
        ],
        "unfinished": _unfinished(results, texts),
        "failures": _failures(results, texts),
    }


def _unfinished(results: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """Say how far the study is; nothing where it is complete."""
    finished = sum(len(arm["runs"]) for arm in results["arms"])
    failed = sum(len(arm["failures"]) for arm in results["arms"])
    planned = len(results["seeds"]) * len(results["arms"])
    if finished + failed < planned:
        return texts["unfinished"].format(finished=finished, planned=planned, failed=failed)
    return texts["some_failed"].format(planned=planned, failed=failed) if failed else ""


def _failures(results: Mapping[str, Any], texts: Mapping[str, str]) -> list[str]:
    """Name the runs that failed, those of one arm and one reason together."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for arm in results["arms"]:
        for failure in arm["failures"]:
            seeds.setdefault((arm["name"], failure["error"]), []).append(failure["seed"])
    return [
        texts["failed_runs"].format(arm=arm, seeds=", ".join(map(str, of)), error=error)
        for (arm, error), of in seeds.items()
    ]


def _guards(results: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the guards, the worst first."""
    guards = sorted(results["guards"], key=lambda guard: _STATES.index(guard["state"]))
    bad = [guard for guard in guards if guard["state"] != "passed"]
    key = "guards_bad" if bad else "guards_good" if guards else "guards_none"
    return {
        "guards": guards,
        "guards_are_bad": bool(bad) or not guards,
        "guards_summary": texts[key].format(count=len(bad), all=len(guards)),
    }


def _captions(results: Mapping[str, Any], texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the captions that name numbers of the study."""
    runs = [len(arm["runs"]) for arm in results["arms"]]
    if min(runs) == max(runs):
        each = texts["one_run"] if runs[0] == 1 else texts["several_runs"].format(count=runs[0])
        per_arm = texts["runs_equal"].format(runs=each)
    else:
        per_arm = texts["runs_between"].format(low=min(runs), high=max(runs))
    has_intervals = any(one["difference"]["low"] is not None for one in results["comparisons"])
    forest = texts["forest_caption"].format(margin=_margin(results))
    size = results["settings"].get("imgsz", numbers.MISSING)
    return {
        "sample": texts["sample"].format(runs=per_arm, images=_num_images(results)),
        "forest_caption": forest if has_intervals else f"{forest} {texts['forest_no_interval']}",
        "curves_caption": texts["curves_caption"].format(baseline=results["baseline"]),
        "accuracy_caption": texts["accuracy_caption"].format(missing=numbers.MISSING),
        "cost_caption": texts["cost_caption"].format(imgsz=size),
        "times_caption": texts["times_caption"].format(imgsz=size),
    }


def _tables(
    results: Mapping[str, Any], order: Sequence[str], texts: Mapping[str, str]
) -> dict[str, Any]:
    """Return the tables, and the errors of timing that belong to one of them."""
    equivalence = tables.equivalence_table(results, texts)
    rule = ""
    if equivalence is not None:
        asked = next(one["equivalence"] for one in results["comparisons"] if one["equivalence"])
        rule = texts["equivalence_rule"].format(
            margin=numbers.trimmed(100 * asked["margin"]),
            share=numbers.trimmed(100 * (1 - asked["faster_than"])),
        )
    return {
        "accuracy": tables.accuracy_table(results, order, texts),
        "cost": tables.cost_table(results, order, texts),
        "times": tables.time_tables(results, order, texts),
        "latency_errors": [
            texts["latency_error"].format(arm=arm["name"], runtime=runtime, error=time["error"])
            for arm in results["arms"]
            for runtime, time in times_of(arm).items()
            if time and time.get("error")
        ],
        "equivalence": equivalence,
        "equivalence_rule": rule,
        "classes": tables.class_tables(results, order, texts),
        "errors": tables.error_tables(results, order, texts),
        "power": tables.power_table(results, texts),
    }


def _margin(results: Mapping[str, Any]) -> str:
    return numbers.trimmed(100 * results["margin"])


def _num_images(results: Mapping[str, Any]) -> str:
    return numbers.count(results["data"]["splits"][results["scored"]]["images"])
