"""Tables 1 and 2 with our figures beside the published ones, as text in cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlla.study.report import numbers
from mlla.study.report.tables import Table
from mlla.study.six_designs.published_effects import BASELINE, FORGET_GATE
from mlla.study.six_designs.text_columns import text_columns

Results = Mapping[str, Any]
Texts = Mapping[str, str]


def effect_table(results: Results, table: int, texts: Texts) -> Table:
    """Tabulate the accuracy of the rows of a table and what their designs do.

    Args:
        results: Content of results.json.
        table: Number of the table.
        texts: Of the language.
    """
    reference = BASELINE if table == 1 else FORGET_GATE
    effects = {one["row"]: one for one in results["effects"] if one["table"] == table}
    cells = []
    for row in results["rows"]:
        if row["name"] == reference or row["table"] == table:
            cells.append(_effect_cells(results, row, effects.get(row["name"]), texts))
    keys = (
        "row", "runs", "top1_published", "top1", "effect_published", "effect", "interval",
        "p_corrected", "smallest", "sign",
    )  # fmt: skip
    # the row that the others stand beside comes first, as it does in the paper
    cells.sort(key=lambda line: line[0] != _label(results, reference))
    return Table([texts[key] for key in keys], cells, arms=False)


def cost_table(results: Results, texts: Texts) -> Table:
    """Tabulate parameters, operations and throughput.

    Args:
        results: Content of results.json.
        texts: Of the language.
    """
    published = {row["name"]: row["published"] for row in results["rows"]}
    base = published.get(BASELINE, {}).get("images_per_second")
    cells = []
    for row in results["rows"]:
        of, costs = row["published"], row["costs"] or {}
        throughput = costs.get("throughput") or {}
        ends = numbers.between(*(numbers.ratio(throughput.get(end)) for end in ("low", "high")))
        measured = numbers.ratio(throughput.get("median"))
        cells.append(
            [
                row["label"],
                str(of["parameters_m"]),
                numbers.millions(costs.get("published_size_parameters")),
                numbers.millions(costs.get("parameters")),
                str(of["flops_g"]),
                _billions(costs.get("published_size_flops")),
                _billions(costs.get("flops")),
                numbers.ratio(of["images_per_second"] / base if base else None),
                measured if measured == numbers.MISSING else f"{measured} ({ends})",
            ]
        )
    keys = (
        "row", "parameters_published", "parameters_tiny", "parameters", "flops_published",
        "parameters_tiny", "parameters", "throughput_published", "throughput",
    )  # fmt: skip
    return Table([texts[key] for key in keys], cells, arms=False)


def answer(results: Results, texts: Texts) -> str:
    """Return what a study found, to be printed.

    Args:
        results: Content of results.json.
        texts: Of the language.
    """
    parts = []
    for table in (1, 2):
        found = effect_table(results, table, texts)
        if any(one["table"] == table for one in results["effects"]):
            parts.append(f"{texts[f'table_{table}']}\n{text_columns(found.columns, found.rows)}")
    costs = cost_table(results, texts)
    if any(row["costs"] for row in results["rows"]):
        parts.append(f"{texts['cost_table']}\n{text_columns(costs.columns, costs.rows)}")
    parts += notes(results, texts)
    return "\n\n".join(parts)


def notes(results: Results, texts: Texts) -> list[str]:
    """Return what has to be said beside the tables: the summary first, then what is amiss."""
    signs = [one["sign"] for one in results["effects"]]
    counts = {sign: signs.count(sign) for sign in ("supported", "contrary", "undecided")}
    lines = [texts["summary"].format(count=len(signs), **counts)]
    needed = next(
        (one["detail"]["needed"] for one in results["guards"] if one["name"] == "enough_seeds"), 0
    )
    if len(results["seeds"]) < needed:
        lines.append(texts["too_few"].format(needed=needed, seeds=len(results["seeds"])))
    lines += [texts["extended"].format(**one) for one in results["extensions"]]
    lines += [
        texts["identical"].format(
            row=_label(results, one["row"]), against=_label(results, one["against"])
        )
        for one in results["effects"]
        if one["identical"]
    ]
    for row in results["rows"]:
        missing = [(one["seed"], one["error"]) for one in row["failures"]]
        missing += [(seed, texts["unfinished"]) for seed in row["unfinished"]]
        lines += [
            texts["missing"].format(row=row["label"], seed=seed, why=why) for seed, why in missing
        ]
    return [*lines, texts["reading"]]


def _effect_cells(
    results: Results, row: Mapping[str, Any], effect: Mapping[str, Any] | None, texts: Texts
) -> list[str]:
    gap = effect["difference"] if effect else {}
    return [
        row["label"],
        f"{len(row['runs'])} / {len(results['seeds'])}",
        f"{row['published']['top1']:.1f}",
        numbers.points_with_spread(row["mean"], row["std"]),
        numbers.signed_points(effect["points"] / 100) if effect else "",
        numbers.signed_points(gap["estimate"]) if effect else "",
        numbers.interval(gap["low"], gap["high"]) if effect else "",
        numbers.probability(effect["adjusted_p_value"]) if effect else "",
        numbers.points(effect["smallest_effect"]) if effect else "",
        texts[effect["sign"]] if effect else "",
    ]


def _label(results: Results, name: str) -> str:
    return next((row["label"] for row in results["rows"] if row["name"] == name), name)


def _billions(number: float | None) -> str:
    return numbers.MISSING if number is None else numbers.significant(number / 1e9)
