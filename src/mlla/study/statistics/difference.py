"""How sure one can be of a difference between two sets of trained models.

Two things vary: the images that happened to be in the test set, and the seeds that happened to be
drawn. Both arms see the same images; their seeds are independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

MAX_EXACT_ARRANGEMENTS = 200_000


@dataclass(frozen=True)
class Difference:
    """A difference of means with its uncertainty, in the unit of the scores.

    Attributes:
        estimate: Mean of the second arm minus mean of the first.
        low: Lower end of the interval.
        high: Upper end of the interval.
        standard_error: Of the estimate.
        degrees_of_freedom: Of the standard error.
        image_variance: What the choice of images contributes to the square of the standard error.
        seed_variance: What the choice of seeds contributes.
        num_images: Number of images.
    """

    estimate: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    image_variance: float
    seed_variance: float
    num_images: int


def draw_images(num_images: int, num_resamples: int, *, seed: int = 0) -> Int[np.ndarray, "R I"]:
    """Draw bootstrap resamples: how often each image occurs in each.

    Args:
        num_images: Number of images.
        num_resamples: Number of resamples.
        seed: Of the random numbers.

    Returns:
        Numbers of copies; every row adds up to `num_images`.
    """
    generator = np.random.default_rng(seed)
    return generator.multinomial(num_images, np.full(num_images, 1 / num_images), num_resamples)


def difference(
    first: Float[np.ndarray, " S"],
    second: Float[np.ndarray, " Z"],
    first_resampled: Float[np.ndarray, "R S"],
    second_resampled: Float[np.ndarray, "R Z"],
    *,
    num_images: int,
    confidence: float = 0.95,
) -> Difference:
    """Compare two arms by a crossed bootstrap: images paired across arms, seeds within arms.

    The variance over images is that of the difference of means over the resamples, with the factor
    n / (n - 1) by which resamples of n images vary too little. The variance over seeds is that of
    Welch's test. What seeds and images do together is in both, so its
    estimate is taken off once. The interval is Student's with Satterthwaite's degrees of freedom:
    percentiles of a bootstrap over four to eight seeds would be far too narrow.

    Args:
        first: Score of each run of the first arm on all images.
        second: Score of each run of the second arm.
        first_resampled: Scores of the first arm on resampled images.
        second_resampled: Scores of the second arm on the same resamples.
        num_images: Number of images, all of them and in a resample.
        confidence: Probability that the interval covers the true difference.

    Returns:
        The difference, second minus first.

    Raises:
        ValueError: If an arm has fewer than two runs, there are fewer than two images, or the
            resamples do not belong together.

    Source: Owen, "The pigeonhole bootstrap", 2007, for the variance of crossed resampling;
        Hesterberg, "What teachers should know about the bootstrap", 2015, for that of few images.
    """
    for name, scores, resampled in (
        ("first", first, first_resampled),
        ("second", second, second_resampled),
    ):
        if len(scores) < 2:
            raise ValueError(
                f"{name} has {len(scores)} run, but the spread over seeds needs at least 2; "
                "train more seeds"
            )
        if resampled.shape != (len(first_resampled), len(scores)):
            raise ValueError(
                f"{name}_resampled has shape {resampled.shape}, but must be (resamples, runs) = "
                f"({len(first_resampled)}, {len(scores)})"
            )
    if num_images < 2:
        raise ValueError(
            f"num_images={num_images}, but the spread over images needs at least 2; "
            "score more images"
        )
    shrunk = num_images / (num_images - 1)
    over_images = shrunk * float(np.var(second_resampled.mean(1) - first_resampled.mean(1), ddof=1))
    over_seeds = [float(np.var(scores, ddof=1)) / len(scores) for scores in (first, second)]
    both = shrunk * sum(map(_interaction, (first_resampled, second_resampled)))
    total = over_images + sum(over_seeds)
    variance = max(total - both, over_images, sum(over_seeds))
    parts = [*over_seeds, over_images]
    sizes = [len(first), len(second), num_images]
    uncertainty = sum(v**2 / (n - 1) for v, n in zip(parts, sizes, strict=True))
    freedom = variance**2 / uncertainty if uncertainty else np.inf
    error = float(np.sqrt(variance))
    estimate = float(second.mean() - first.mean())
    reach = error * float(stats.t.ppf((1 + confidence) / 2, freedom))
    return Difference(
        estimate,
        estimate - reach,
        estimate + reach,
        error,
        float(freedom),
        over_images,
        sum(over_seeds),
        num_images,
    )


def difference_without_spread(
    first: Float[np.ndarray, " S"], second: Float[np.ndarray, " Z"], *, num_images: int
) -> Difference:
    """Return the difference of means of single runs: figures without an interval, which is NaN."""
    estimate = float(second.mean() - first.mean())
    nan = float("nan")
    return Difference(estimate, nan, nan, nan, nan, nan, nan, num_images)


def permutation_p_value(first: Float[np.ndarray, " S"], second: Float[np.ndarray, " Z"]) -> float:
    """Test whether the arm of a run matters, by all ways to deal the runs out to two arms.

    Args:
        first: Score of each run of the first arm.
        second: Score of each run of the second arm.

    Returns:
        The two-sided probability of a difference of means at least as large. With n runs an arm
        it cannot be below 2 / (2n choose n): 0.1 for three, 0.029 for four, 0.008 for five.
    """
    if len(first) == len(second) == 1:
        # the two ways to deal them out differ by as much
        return 1.0
    result = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        n_resamples=MAX_EXACT_ARRANGEMENTS,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


def holm(p_values: list[float]) -> list[float]:
    """Adjust p-values of several comparisons so that all of them together err at the level.

    Args:
        p_values: One for each comparison.

    Returns:
        The adjusted values in the same order.

    Source: Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    adjusted = np.empty(len(p_values))
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted.tolist()


def is_not_worse(found: Difference, margin: float, *, level: float = 0.05) -> bool:
    """Test whether the second arm is worse by less than a margin.

    Args:
        found: The difference, second minus first, positive where the second is better.
        margin: What one is willing to lose, positive, in the unit of the scores.
        level: Of the one-sided test.

    Returns:
        Whether the lower bound of the difference lies above `-margin`.

    Raises:
        ValueError: If the margin is not positive.
    """
    if margin <= 0:
        raise ValueError(f"margin={margin} must be positive: what one is willing to lose")
    reach = found.standard_error * float(stats.t.ppf(1 - level, found.degrees_of_freedom))
    return found.estimate - reach > -margin


def _interaction(resampled: Float[np.ndarray, "R S"]) -> float:
    """Return the variance of a mean over runs that comes from images treating runs differently."""
    deviations = resampled - resampled.mean(axis=1, keepdims=True)
    return float(deviations.var(axis=0, ddof=1).mean()) / (resampled.shape[1] - 1)
