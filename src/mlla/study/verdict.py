"""What a comparison of two arms allows one to say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import stats

from mlla.study.statistics import Difference

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
    found: Difference, *, num_runs: int, num_images: int, margin: float, power: float = 0.8
) -> Needed:
    """Estimate the size of a study that would find the difference seen, or one that matters.

    Args:
        found: What this study saw.
        num_runs: Runs of each arm in it.
        num_images: Test images in it.
        margin: The smallest gain that matters; looked for where the difference seen is smaller.
        power: Probability to find it.

    Returns:
        Runs, or images, that would do. Both extrapolate variances that a few runs estimate
        roughly: orders of magnitude, not promises.
    """
    target = max(abs(found.estimate), margin)

    def finds_it(runs: int, images: int) -> bool:
        over_seeds = found.seed_variance * num_runs / runs
        over_images = found.image_variance * num_images / images
        variance = over_seeds + over_images
        if variance == 0:
            return True
        freedom = 2 * (runs - 1) * (variance / over_seeds) ** 2 if over_seeds else np.inf
        quantiles = stats.t.ppf(0.975, freedom) + stats.t.ppf(power, freedom)
        return bool(quantiles * np.sqrt(variance) <= target)

    runs = next((n for n in range(MIN_RUNS, MAX_RUNS + 1) if finds_it(n, num_images)), None)
    sizes = np.unique(np.geomspace(num_images, MAX_IMAGES_FACTOR * num_images, 200).astype(int))
    images = next((int(n) for n in sizes if finds_it(max(num_runs, MIN_RUNS), int(n))), None)
    return Needed(runs, images)
