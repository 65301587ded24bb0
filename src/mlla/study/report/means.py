"""Means over the runs of an arm that leave out what was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any


def mean_of(values: Sequence[float | None]) -> float | None:
    """Return the mean of the numbers among the values, or None if there is none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def mean_over_runs(runs: Sequence[Mapping[str, Any]], group: str, name: str) -> float | None:
    """Average one score over runs.

    Args:
        runs: Runs of an arm as in results.json.
        group: "summary", "per_class" or "error_types".
        name: Of the score in this group.

    Returns:
        The mean, or None if no run has it.
    """
    return mean_of([run[group].get(name) for run in runs])


def mean_difference(
    first: Sequence[Mapping[str, Any]],
    second: Sequence[Mapping[str, Any]],
    group: str,
    name: str,
) -> float | None:
    """Return how much more the second arm has on average, over the seeds that both have.

    Args:
        first: Runs of an arm as in results.json.
        second: Runs of another.
        group: "summary", "per_class" or "error_types".
        name: Of the score in this group.

    Returns:
        The difference of means, or None if there is no seed with this score in both.
    """
    scores = [
        {run["seed"]: run[group][name] for run in runs if run[group].get(name) is not None}
        for runs in (first, second)
    ]
    return mean_of([scores[1][seed] - scores[0][seed] for seed in scores[0] if seed in scores[1]])
