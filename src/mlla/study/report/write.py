"""Write the report of a study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlla.study.files import write_whole
from mlla.study.report.arm_style import order_arms, style_arms
from mlla.study.report.charts.draw import draw_charts
from mlla.study.report.csv_table import csv_table
from mlla.study.report.latex_table import latex_table
from mlla.study.report.page import render_page
from mlla.study.report.texts import texts_in


def write_report(results: Mapping[str, Any], out: Path, *, language: str = "en") -> Path:
    """Write report.html, results.csv, results.tex and the charts as files of their own.

    Args:
        results: Content of results.json.
        out: Folder of the study.
        language: "en" or "zh".

    Returns:
        Path of report.html. It needs no other file, no network and no script.

    Raises:
        ValueError: If there is no such language.
        OSError: If a file cannot be written; the old ones are then still whole.
    """
    texts = texts_in(language)
    styles = style_arms(results["arms"])
    styles = {arm["name"]: styles[arm["name"]] for arm in order_arms(results["arms"])}
    charts = draw_charts(results, styles, texts)
    page = render_page(results, styles, texts, charts, language=language)
    (out / "charts").mkdir(parents=True, exist_ok=True)
    for name, chart in charts.files().items():
        write_whole(out / "charts" / name, f"{chart}\n")
    write_whole(out / "results.csv", csv_table(results))
    write_whole(out / "results.tex", latex_table(results, list(styles), texts))
    write_whole(out / "report.html", page)
    return out / "report.html"
