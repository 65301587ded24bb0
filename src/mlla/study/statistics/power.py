"""Which true difference a study of a given size would have called supported."""

from __future__ import annotations

from functools import cache
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from mlla.study.statistics.difference import Difference

NUM_STUDIES = 1000
# beyond this many runs the permutation test is practically that of Student
_MAX_EXACT_RUNS = 7


def smallest_effect(
    found: Difference,
    *,
    num_runs: int,
    num_claims: int = 1,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """Return the true gain that a study like this calls supported with the given probability.

    Studies are simulated whose runs and images vary as in this one. A gain counts as found where
    the interval excludes zero and the permutation test, corrected for the number of claims,
    rejects, as `judge` demands.

    Args:
        found: The difference of the study, for its variances.
        num_runs: Runs of each arm.
        num_claims: Comparisons that are corrected together.
        level: Of the two-sided tests.
        power: Probability to find it.

    Returns:
        The difference, in the unit of the scores; infinite where the permutation test can never
        reject, NaN where one run says nothing about the spread.
    """
    if np.isnan(found.standard_error):
        return float("nan")
    if 2 * num_claims / comb(2 * num_runs, num_runs) > level:
        return float("inf")
    error = found.standard_error
    # what images add to the variance that runs do not show already
    shared = np.sqrt(max(error**2 - found.seed_variance, 0.0))
    spread = np.sqrt(found.seed_variance * num_runs / 2)
    generator = np.random.default_rng(0)
    runs = spread * generator.standard_normal((NUM_STUDIES, 2 * num_runs))
    runs[:, num_runs:] += shared * generator.standard_normal((NUM_STUDIES, 1))
    low, high = 0.0, 12 * error
    for _ in range(10):
        middle = (low + high) / 2
        if _finds(runs, middle, shared, found.num_images, level, num_claims).mean() < power:
            low = middle
        else:
            high = middle
    return float(high)


def _finds(
    runs: Float[np.ndarray, "M N"],
    effect: float,
    shared: float,
    num_images: int,
    level: float,
    num_claims: int,
) -> Bool[np.ndarray, " M"]:
    """Return which simulated studies call an effect supported."""
    num_runs = runs.shape[1] // 2
    first, second = runs[:, :num_runs], runs[:, num_runs:] + effect
    gap = second.mean(axis=1) - first.mean(axis=1)
    parts = np.stack([arm.var(axis=1, ddof=1) / num_runs for arm in (first, second)])
    over_seeds = parts.sum(axis=0)
    variance = over_seeds + shared**2
    uncertainty = (parts**2).sum(axis=0) / (num_runs - 1) + shared**4 / (num_images - 1)
    freedom = variance**2 / np.maximum(uncertainty, 1e-60)
    interval = gap > np.sqrt(variance) * stats.t.ppf(1 - level / 2, freedom)
    if num_runs <= _MAX_EXACT_RUNS:
        weights = _arrangements(num_runs)
        permuted = runs @ weights.T + effect * weights[:, num_runs:].sum(axis=1)
        # rounding must not tell equal arrangements apart
        as_extreme = np.abs(permuted) >= np.abs(gap[:, None]) * (1 - 1e-9)
        p_value = as_extreme.mean(axis=1)
    else:
        t_value = np.abs(gap) / np.sqrt(np.maximum(over_seeds, 1e-30))
        p_value = 2 * stats.t.sf(t_value, 2 * num_runs - 2)
    return interval & (num_claims * p_value <= level)


@cache
def _arrangements(num_runs: int) -> Float[np.ndarray, "A N"]:
    """Return the weights of runs in the difference, for each way to deal them out to two arms.

    Exchanging the arms only changes the sign, so the first run always goes to the first arm.
    """
    chosen = list(combinations(range(1, 2 * num_runs), num_runs - 1))
    weights = np.full((len(chosen), 2 * num_runs), 1 / num_runs)
    weights[:, 0] = -1 / num_runs
    np.put_along_axis(weights, np.array(chosen), -1 / num_runs, axis=1)
    return weights
