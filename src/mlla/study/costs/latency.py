"""Time per image of several detectors, measured in turns so that all meet the same machine."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import stats

SECONDS_PER_ARM = 6.0
MIN_ROUNDS, MAX_ROUNDS, WARM_UP_ROUNDS = 20, 300, 3


def interleaved_seconds(
    calls: Mapping[str, Callable[[], object]], *, seconds_per_arm: float = SECONDS_PER_ARM
) -> dict[str, Float[np.ndarray, " R"]]:
    """Time calls in turns: every round runs each of them once, in another order.

    Args:
        calls: What to time, by name.
        seconds_per_arm: How long to measure; slow calls take longer, for 20 rounds at least.

    Returns:
        The time of each call in each round.
    """
    generator = np.random.default_rng(0)
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}

    def measure_round() -> None:
        for index in generator.permutation(len(names)):
            started = time.perf_counter()
            calls[names[index]]()
            times[names[index]].append(time.perf_counter() - started)

    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(WARM_UP_ROUNDS):
            measure_round()
        # the first calls prepare what later ones use
        fastest = sum(min(part) for part in times.values())
        rounds = int(seconds_per_arm * len(names) / fastest)
        for part in times.values():
            part.clear()
        for _ in range(min(max(rounds, MIN_ROUNDS), MAX_ROUNDS)):
            measure_round()
    finally:
        if collecting:
            gc.enable()
    return {name: np.array(part) for name, part in times.items()}


def latencies(
    times: Mapping[str, Float[np.ndarray, " R"]], baseline: str
) -> dict[str, dict[str, Any]]:
    """Summarise the times of all arms.

    Args:
        times: Of each arm in each round.
        baseline: The arm that the others are compared with; without it there is no ratio.

    Returns:
        For each arm "median_ms", the quartiles "low_ms" and "high_ms", "rounds", and "ratio": the
        median over rounds of the time beside the baseline in the same round, with its 95 %
        interval, as "median", "low", "high".
    """
    return {
        arm: {
            "median_ms": float(1e3 * np.median(part)),
            "low_ms": float(1e3 * np.quantile(part, 0.25)),
            "high_ms": float(1e3 * np.quantile(part, 0.75)),
            "rounds": len(part),
            "ratio": median_with_interval(part / times[baseline]) if baseline in times else None,
        }
        for arm, part in times.items()
    }


def median_with_interval(
    values: Float[np.ndarray, " R"], *, confidence: float = 0.95
) -> dict[str, float]:
    """Return the median and its interval from order statistics, whatever the distribution.

    Args:
        values: Independent values, 6 or more for an interval at 95 %.
        confidence: Least probability that the interval covers the true median.

    Returns:
        "median", "low" and "high".

    Raises:
        ValueError: If there are too few values for this confidence.

    Source: David and Nagaraja, "Order Statistics", section 7.1.
    """
    ordered = np.sort(values)
    # the number of values below the true median is binomial
    outside = int(stats.binom.ppf((1 - confidence) / 2, len(ordered), 0.5))
    if outside < 1:
        raise ValueError(f"{len(ordered)} values are too few for an interval; measure more rounds")
    return {
        "median": float(np.median(ordered)),
        "low": float(ordered[outside - 1]),
        "high": float(ordered[len(ordered) - outside]),
    }
