"""All arms of a study against its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlla.study.average_precision import average_precision, mean_average_precision
from mlla.study.matches import Matches
from mlla.study.statistics import (
    Difference,
    difference,
    draw_images,
    holm,
    permutation_p_value,
    smallest_effect,
)
from mlla.study.verdict import Needed, Verdict, judge, needed

NUM_RESAMPLES = 2000
# half a point of AP
MARGIN = 0.005


@dataclass(frozen=True)
class Comparison:
    """What is known of one arm beside the baseline.

    Attributes:
        arm: Name of the arm.
        difference: Of its mean AP, arm minus baseline.
        p_value: Of the exact permutation test over runs.
        adjusted_p_value: The same after Holm's correction for the number of arms.
        smallest_effect: The difference that a study like this finds four times out of five.
        verdict: What this allows one to say.
        needed: What would decide it.
    """

    arm: str
    difference: Difference
    p_value: float
    adjusted_p_value: float
    smallest_effect: float
    verdict: Verdict
    needed: Needed


def compare_arms(
    runs: Mapping[str, Sequence[Matches]],
    baseline: str,
    *,
    margin: float = MARGIN,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every arm with the baseline.

    Args:
        runs: Matches of the runs of each arm, at least two, all on the same images.
        baseline: Name of the arm that the others are compared with.
        margin: The smallest gain of AP that matters, as a fraction: 0.005 is half a point.
        num_resamples: Bootstrap resamples of the images.
        seed: Of the resamples.

    Returns:
        A comparison for each other arm, in the order of `runs`.

    Raises:
        ValueError: If there is no such arm or no other, an arm has fewer than two runs, or runs
            were scored on different objects.
    """
    if baseline not in runs or len(runs) < 2:
        raise ValueError(
            f"baseline={baseline!r} must be one of at least two arms, but there are "
            f"{', '.join(runs) or 'none'}"
        )
    objects = next(iter(runs[baseline])).objects
    for arm, matches in runs.items():
        if not all(np.array_equal(one.objects, objects) for one in matches):
            raise ValueError(
                f"runs of {arm!r} were scored on other objects than those of {baseline!r}; score "
                "all of them on the same images and labels"
            )
    num_images = objects.shape[1]
    everything = np.ones((1, num_images), dtype=np.int64)
    copies = draw_images(num_images, num_resamples, seed=seed)
    full, resampled = {}, {}
    for arm, matches in runs.items():
        full[arm] = np.array([_scores(one, everything)[0] for one in matches])
        resampled[arm] = np.stack([_scores(one, copies) for one in matches], axis=1)
    found = []
    for arm in runs:
        if arm == baseline:
            continue
        gap = difference(full[baseline], full[arm], resampled[baseline], resampled[arm])
        num_runs = min(len(full[baseline]), len(full[arm]))
        found.append(
            Comparison(
                arm,
                gap,
                p_value := permutation_p_value(full[baseline], full[arm]),
                p_value,
                smallest_effect(gap),
                Verdict.TOO_LITTLE_DATA,
                needed(gap, num_runs=num_runs, num_images=num_images, margin=margin),
            )
        )
    adjusted = holm([one.p_value for one in found])
    return [
        replace(
            one,
            adjusted_p_value=p_value,
            verdict=judge(
                one.difference,
                p_value,
                num_runs=min(len(full[baseline]), len(full[one.arm])),
                margin=margin,
            ),
        )
        for one, p_value in zip(found, adjusted, strict=True)
    ]


def _scores(matches: Matches, copies: np.ndarray) -> np.ndarray:
    return mean_average_precision(average_precision(matches, copies))
