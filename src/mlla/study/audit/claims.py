"""What the numbers in results.csv alone allow one to say of two arms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.grouping import RunGroup
from mlla.study.statistics.difference import permutation_p_value

# no detector that finds anything scores less
NOTHING_FOUND = 0.001


@dataclass(frozen=True)
class Spread:
    """A score over the runs of an arm.

    Attributes:
        mean: Mean; NaN without a run.
        deviation: Standard deviation; NaN with fewer than two runs.
    """

    mean: float
    deviation: float


@dataclass(frozen=True)
class Figures:
    """The scores of an arm on its validation images, as the training logged them.

    Attributes:
        num_runs: Finished runs with numbers of their own.
        last: Of the last epoch.
        best: Of the epoch that scored best on these very images.
    """

    num_runs: int
    last: Spread
    best: Spread

    @property
    def optimism(self) -> float:
        """By how much the best epoch exceeds the last on average."""
        return self.best.mean - self.last.mean


@dataclass(frozen=True)
class Claim:
    """An arm beside another, from results.csv.

    Attributes:
        arm: Name of the arm.
        against: Name of the other.
        figures: Those of the arm.
        against_figures: Those of the other.
        p_value: Of the exact permutation test over the last epochs of the runs; NaN where an arm
            has fewer than two.
        smallest_p_value: The least that this test can give with so many runs.
    """

    arm: str
    against: str
    figures: Figures
    against_figures: Figures
    p_value: float
    smallest_p_value: float

    @property
    def difference(self) -> float:
        """Of the mean scores of the last epochs."""
        return self.figures.last.mean - self.against_figures.last.mean

    @property
    def best_difference(self) -> float:
        """Of the mean scores of the best epochs."""
        return self.figures.best.mean - self.against_figures.best.mean

    @property
    def num_runs(self) -> tuple[int, int]:
        """Runs of the arm, and of the other."""
        return self.figures.num_runs, self.against_figures.num_runs


def figures_of(runs: Sequence[ExistingRun]) -> Figures:
    """Summarise the scores of runs."""
    return Figures(
        len(runs),
        _spread([run.last_score for run in runs]),
        _spread([run.best_score for run in runs]),
    )


def make_claim(arm: RunGroup, against: RunGroup) -> Claim:
    """Compare two arms by what their runs logged.

    Args:
        arm: The arm in question.
        against: The other.

    Returns:
        The claim; runs that are interrupted, broken or copies of others are left out.
    """
    first, second = (
        np.array([run.last_score for run in group.distinct]) for group in (against, arm)
    )
    num_orders = math.comb(len(first) + len(second), len(first))
    num_least = min(len(first), len(second))
    return Claim(
        arm.name,
        against.name,
        figures_of(arm.distinct),
        figures_of(against.distinct),
        permutation_p_value(first, second) if num_least > 1 else math.nan,
        min(1.0, 2 / num_orders),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(
        statistics.fmean(values) if values else math.nan,
        statistics.stdev(values) if len(values) > 1 else math.nan,
    )
