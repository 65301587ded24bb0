"""The tables of a report, as text in cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlla.study.report import numbers
from mlla.study.report.charts.latency import runtimes_of, times_of
from mlla.study.report.means import mean_difference, mean_of, mean_over_runs

ACCURACY = ("AP", "AP50", "AP75", "APs", "APm", "APl")
# as many arms stand side by side as fit on a sheet of paper
MAX_COLUMNS = 5

Results = Mapping[str, Any]
Texts = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Titles; the first is that of the rows' names.
        rows: Cells; the first of each row is its name.
        arms: Whether the rows are arms, and so have colours.
        text: Whether the cells are words rather than numbers.
    """

    columns: list[str]
    rows: list[list[str]]
    arms: bool
    text: bool = False


def accuracy_table(results: Results, order: Sequence[str], texts: Texts) -> Table:
    """Tabulate AP, by overlap and size of objects, and calibration."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    rows = []
    for name in order:
        arm = arms[name]
        figures = [
            numbers.points_with_spread(arm["mean"].get(key), arm["std"].get(key))
            for key in ACCURACY
        ]
        calibration = mean_of([run["calibration_error"] for run in arm["runs"]])
        rows.append(
            [
                name,
                texts["runs_of"].format(finished=len(arm["runs"]), planned=len(results["seeds"])),
                *figures,
                numbers.points(calibration),
            ]
        )
    return Table([texts["arm"], texts["runs"], *ACCURACY, texts["calibration"]], rows, arms=True)


def cost_table(results: Results, order: Sequence[str], texts: Texts) -> Table:
    """Tabulate what each arm costs, and what it began with."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    rows = []
    for name in order:
        cost, counts = arms[name].get("cost") or {}, arms[name]["counts"] or {}
        rows.append(
            [
                name,
                texts[arms[name]["kind"]],
                numbers.millions(cost.get("parameters")),
                numbers.significant(cost.get("gflops")),
                numbers.significant(cost.get("gflops_torch")),
                numbers.duration(cost.get("train_seconds")),
                numbers.gibibytes(cost.get("peak_memory_bytes")),
                _share(counts.get("shared_with_baseline"), counts.get("baseline_tensors")),
                _share(counts.get("pretrained_kept"), counts.get("pretrained_tensors")),
            ]
        )
    keys = ("arm", "kind", "parameters", "gflops", "gflops_torch", "train_time", "memory")
    columns = [texts[key] for key in (*keys, "shared", "pretrained")]
    return Table(columns, rows, arms=True)


def time_tables(results: Results, order: Sequence[str], texts: Texts) -> dict[str, Table]:
    """Tabulate the time per image in each runtime."""
    arms = {arm["name"]: arm for arm in results["arms"]}
    tables = {}
    for runtime in runtimes_of(results):
        rows = []
        for name in order:
            time = times_of(arms[name]).get(runtime) or {}
            ratios = time.get("ratio") or {}
            ends = [numbers.significant(time.get(key)) for key in ("low_ms", "high_ms")]
            ratio_ends = [numbers.ratio(ratios.get(key)) for key in ("low", "high")]
            rows.append(
                [
                    name,
                    numbers.significant(time.get("median_ms")),
                    numbers.between(*ends),
                    numbers.ratio(ratios.get("median")),
                    numbers.between(*ratio_ends),
                ]
            )
        keys = ("arm", "time", "quartiles", "ratio", "interval")
        tables[runtime] = Table([texts[key] for key in keys], rows, arms=True)
    return tables


def class_tables(results: Results, order: Sequence[str], texts: Texts) -> list[Table]:
    """Tabulate AP of every class, for a few arms at a time."""
    rows = {name: name for name in results["data"]["names"]}
    return _beside_baseline(results, "per_class", rows, order, texts["class"])


def error_tables(results: Results, order: Sequence[str], texts: Texts) -> list[Table]:
    """Tabulate the AP that each type of error costs, for a few arms at a time."""
    types = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss", "FP", "FN")
    rows = {key: f"{key}: {texts[key]}" for key in types}
    return _beside_baseline(results, "error_types", rows, order, texts["error"])


def power_table(results: Results, texts: Texts) -> Table:
    """Tabulate what the study could have seen, and what would decide it."""
    rows = []
    for one in results["comparisons"]:
        is_open = one["verdict"] == "too little data"
        needed = [one["needed"]["runs"], one["needed"]["images"]] if is_open else []
        rows.append(
            [
                one["arm"],
                one["against"],
                numbers.signed_points(one["difference"]["estimate"]),
                numbers.points(one["smallest_effect"]),
                *(
                    [texts["not_alone"] if n is None else numbers.count(n) for n in needed]
                    or [texts["decided"]] * 2
                ),
            ]
        )
    keys = ("arm", "against", "seen", "smallest", "seeds_needed", "images_needed")
    return Table([texts[key] for key in keys], rows, arms=True)


def equivalence_table(results: Results, texts: Texts) -> Table | None:
    """Tabulate which arms are as good and faster; None where it was not asked or measured."""
    asked = [one for one in results["comparisons"] if one["equivalence"]]
    if all(one["equivalence"]["runtime"] is None for one in asked):
        return None
    first = asked[0]["equivalence"]
    words = {True: texts["yes"], False: texts["no"], None: texts["unknown"]}
    rows = [
        [one["arm"], *(words[one["equivalence"][key]] for key in ("not_worse", "faster", "holds"))]
        for one in asked
    ]
    columns = [
        texts["arm"],
        texts["not_worse"].format(margin=numbers.trimmed(100 * first["margin"])),
        texts["faster"].format(percent=numbers.trimmed(100 * first["faster_than"])),
        texts["both"],
    ]
    return Table(columns, rows, arms=True)


def _beside_baseline(
    results: Results, group: str, rows: Mapping[str, str], order: Sequence[str], title: str
) -> list[Table]:
    """Tabulate scores of the arms with the difference to the baseline, which every table has."""
    runs = {arm["name"]: arm["runs"] for arm in results["arms"]}
    baseline = results["baseline"]
    others = [name for name in order if name != baseline]
    tables = []
    for first in range(0, max(len(others), 1), MAX_COLUMNS):
        part = others[first : first + MAX_COLUMNS]
        cells = []
        for key, label in rows.items():
            line = [label, numbers.points(mean_over_runs(runs[baseline], group, key))]
            for name in part:
                score = numbers.points(mean_over_runs(runs[name], group, key))
                gap = mean_difference(runs[baseline], runs[name], group, key)
                line.append(score if gap is None else f"{score} ({numbers.signed_points(gap)})")
            cells.append(line)
        tables.append(Table([title, baseline, *part], cells, arms=False))
    return tables


def _share(part: int | None, whole: int | None) -> str:
    return numbers.MISSING if part is None or not whole else f"{part} / {whole}"
