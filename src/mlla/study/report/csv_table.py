"""All runs of a study as a table for other programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

_COSTS = ("parameters", "gflops", "gflops_torch")


def csv_table(results: Mapping[str, Any]) -> str:
    """Return one row for each run that was asked for, finished or not.

    Args:
        results: Content of results.json.

    Returns:
        Comma-separated values with a header. Scores are fractions; what is missing is empty.
    """
    summary = _names(results, "summary")
    classes = _names(results, "per_class")
    errors = _names(results, "error_types")
    header = [
        *("arm", "kind", "control_of", "seed", "state", "error"),
        *summary,
        *("calibration_error", "train_seconds", "peak_memory_bytes"),
        *_COSTS,
        *(f"AP of {name}" for name in classes),
        *(f"AP lost to {name}" for name in errors),
    ]
    target = io.StringIO()
    table = csv.writer(target, lineterminator="\n")
    table.writerow(header)
    for arm in results["arms"]:
        runs = {run["seed"]: run for run in arm["runs"]}
        failures = {failure["seed"]: failure["error"] for failure in arm["failures"]}
        cost = arm.get("cost") or {}
        for seed in sorted({*results["seeds"], *runs, *failures}):
            run = runs.get(seed, {})
            state = "done" if run else "failed" if seed in failures else "unfinished"
            table.writerow(
                [
                    *(arm["name"], arm["kind"], arm["control_of"], seed, state, failures.get(seed)),
                    *(run.get("summary", {}).get(name) for name in summary),
                    run.get("calibration_error"),
                    run.get("train_seconds"),
                    run.get("peak_memory_bytes"),
                    *(cost.get(key) for key in _COSTS),
                    *(run.get("per_class", {}).get(name) for name in classes),
                    *(run.get("error_types", {}).get(name) for name in errors),
                ]
            )
    return target.getvalue()


def _names(results: Mapping[str, Any], group: str) -> list[str]:
    """Return the names of all scores of a group, in the order in which they are found."""
    runs = [run for arm in results["arms"] for run in arm["runs"]]
    return list(dict.fromkeys(name for run in runs for name in run[group]))
