"""The files that a reader opens: one page, the charts, and a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mlla.study import report
from mlla.study.files import write_json, write_whole
from mlla.study.six_designs.charts import draw_charts
from mlla.study.six_designs.row_measures import NUM_IMAGES
from mlla.study.six_designs.tables import cost_table, effect_table, notes
from mlla.study.six_designs.texts import texts_in

_STYLE = Path(report.__file__).parent / "page.css"


def write_report(results: Mapping[str, Any], out: Path, *, language: str) -> Path:
    """Write results.json, results.csv, report.html and the charts as files of their own.

    Args:
        results: Content of results.json.
        out: Folder of the study.
        language: "en" or "zh".

    Returns:
        Path of report.html. It needs no other file, no network and no script.

    Raises:
        OSError: If a file cannot be written; the old ones are then still whole.
    """
    texts = texts_in(language)
    charts = draw_charts(results, texts)
    (out / "charts").mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        write_whole(out / "charts" / f"{name}.svg", f"{chart}\n")
    write_json(out / "results.json", dict(results))
    write_whole(out / "results.csv", csv_table(results))
    write_whole(out / "report.html", render_page(results, charts, texts, language=language))
    return out / "report.html"


def render_page(
    results: Mapping[str, Any],
    charts: Mapping[str, str],
    texts: Mapping[str, str],
    *,
    language: str,
) -> str:
    """Return the page as HTML, with names and messages escaped.

    Args:
        results: Content of results.json.
        charts: SVG elements by name.
        texts: Of the language.
        language: "en" or "zh".
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    data, settings = results["data"], results["settings"]
    scored = data["scored"]
    images = data["splits"][scored]["images"]
    marked = dict.fromkeys(("effects", "figure-4b", "figure-5"))
    return environment.get_template("page.html").render(
        language=language,
        t=texts,
        style_sheet=Markup(_STYLE.read_text(encoding="utf-8")),
        title=texts["title"].format(data=Path(data["source"]).name),
        question=texts["question"].format(
            size=results["size"],
            image_size=results["image_size"],
            seeds=len(results["seeds"]),
            epochs=settings["epochs"],
        ),
        notes=notes(results, texts),
        charts={**marked, **{name: Markup(chart) for name, chart in charts.items()}},
        effects_caption=texts["effects_caption"].format(scored=scored, images=images),
        figure_5_caption=texts["figure_5_caption"].format(images=min(NUM_IMAGES, images)),
        effect_tables=[
            {"title": texts[f"table_{table}"], "table": effect_table(results, table, texts)}
            for table in (1, 2)
            if any(one["table"] == table for one in results["effects"])
        ],
        costs=cost_table(results, texts),
        guards=results["guards"],
        command=results["command"],
        settings={**settings, **results["recipe"]},
        versions=results["versions"],
    )


def csv_table(results: Mapping[str, Any]) -> str:
    """Return one row for each finished run; accuracies are fractions.

    Args:
        results: Content of results.json.
    """
    target = io.StringIO()
    table = csv.writer(target, lineterminator="\n")
    table.writerow(["row", "seed", "top1", "checkpoint_epoch", "train_seconds", "published_top1"])
    for row in results["rows"]:
        for run in row["runs"]:
            values = (run[key] for key in ("seed", "top1", "checkpoint_epoch", "train_seconds"))
            table.writerow([row["name"], *values, round(row["published"]["top1"] / 100, 4)])
    return target.getvalue()
