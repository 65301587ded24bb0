"""What a comparison of two arms allows one to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import comb
from typing import Any

import numpy as np
from scipy import stats

from mlla.study.statistics.difference import Difference

# with three runs an arm even the clearest result has a permutation p-value of 0.1
MIN_RUNS = 4
MAX_RUNS, MAX_IMAGES_FACTOR = 200, 100


class Verdict(Enum):
    """The three answers, and their worse counterpart."""

    SUPPORTED = "supported"
    HARMFUL = "harmful"
    NOT_SUPPORTED = "not supported"
    TOO_LITTLE_DATA = "too little data"


@dataclass(frozen=True)
class Needed:
    """What a study would have to have in order to decide, the other number kept as it was.

    Attributes:
        runs: Runs of each arm, or None if no number of runs up to 200 would do.
        images: Test images, or None if not even a hundred times as many would do.
    """

    runs: int | None
    images: int | None


def min_runs(num_claims: int, *, level: float = 0.05) -> int:
    """Return the runs of each arm from which on a verdict is possible.

    Args:
        num_claims: Comparisons that are corrected together.
        level: Of the tests.

    Returns:
        The smallest number at which the clearest result passes the permutation test after Holm's
        correction: 4 for one claim, 5 for two to six.
    """
    runs = MIN_RUNS
    while 2 * num_claims / comb(2 * runs, runs) > level:
        runs += 1
    return runs


def judge(
    found: Difference, p_value: float, *, num_runs: int, margin: float, level: float = 0.05
) -> Verdict:
    """Say whether the second arm is better than the first.

    Args:
        found: Their difference, in the unit of the scores.
        p_value: Of the permutation test over runs, adjusted for the number of comparisons.
        num_runs: Runs of the smaller arm.
        margin: The smallest gain that matters, positive, in the unit of the scores.
        level: Of the tests.

    Returns:
        SUPPORTED or HARMFUL if the permutation test and the interval agree that there is a
        difference. NOT_SUPPORTED if the interval leaves no room for a gain that matters.
        TOO_LITTLE_DATA otherwise, and always for fewer than 4 runs.

    Raises:
        ValueError: If the margin is not positive.
    """
    if margin <= 0:
        raise ValueError(f"margin={margin} must be positive: the smallest gain that matters")
    if num_runs < MIN_RUNS:
        return Verdict.TOO_LITTLE_DATA
    if p_value <= level and found.low > 0:
        return Verdict.SUPPORTED
    if p_value <= level and found.high < 0:
        return Verdict.HARMFUL
    return Verdict.NOT_SUPPORTED if found.high < margin else Verdict.TOO_LITTLE_DATA


def needed(
    found: Difference,
    *,
    num_runs: int,
    margin: float,
    num_claims: int = 1,
    power: float = 0.8,
) -> Needed:
    """Estimate the size of a study that would find the difference seen, or one that matters.

    Args:
        found: What this study saw.
        num_runs: Runs of each arm in it.
        margin: The smallest gain that matters; looked for where the difference seen is smaller.
        num_claims: Comparisons that are corrected together.
        power: Probability to find it.

    Returns:
        Runs, or images, that would do, always more than there are. Both extrapolate variances that
        a few runs estimate roughly: orders of magnitude, not promises.
    """
    target = max(abs(found.estimate), margin)

    def finds_it(runs: Any, images: Any) -> np.ndarray:
        over_seeds = found.seed_variance * num_runs / runs
        over_images = found.image_variance * found.num_images / images
        # not to divide by nothing where neither varies
        variance = np.maximum(over_seeds + over_images, 1e-12)
        uncertainty = over_seeds**2 / (2 * (runs - 1)) + over_images**2 / np.maximum(images - 1, 1)
        freedom = variance**2 / np.maximum(uncertainty, 1e-30)
        interval = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
        # about what the permutation test demands: it sees the runs alone
        corrected = stats.t.ppf(1 - 0.025 / num_claims, 2 * (runs - 1))
        permutation = corrected * np.sqrt(over_seeds)
        luck = stats.t.ppf(power, freedom) * np.sqrt(variance)
        return np.maximum(interval, permutation) + luck <= target

    fewest = min_runs(num_claims)
    more_runs = np.arange(max(fewest, num_runs + 1), MAX_RUNS + 1)
    runs = _first(more_runs, finds_it(more_runs, found.num_images))
    if num_runs < fewest:
        # no number of images makes up for a permutation test that cannot succeed
        return Needed(runs, None)
    sizes = np.geomspace(found.num_images + 1, MAX_IMAGES_FACTOR * found.num_images, 200).astype(
        int
    )
    return Needed(runs, _first(sizes, finds_it(num_runs, sizes)))


def _first(numbers: np.ndarray, enough: np.ndarray) -> int | None:
    return int(numbers[enough.argmax()]) if enough.any() else None
