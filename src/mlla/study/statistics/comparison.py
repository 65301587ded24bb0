"""The arms of a study beside each other, pair by pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlla.study.statistics.difference import (
    Difference,
    difference,
    difference_without_spread,
    draw_images,
    holm,
    permutation_p_value,
)
from mlla.study.statistics.evidence import Evidence
from mlla.study.statistics.power import smallest_effect
from mlla.study.statistics.verdict import Needed, Verdict, judge, needed

NUM_RESAMPLES = 2000
# half a point of AP
MARGIN = 0.005


@dataclass(frozen=True)
class Pair:
    """Two arms to compare.

    Attributes:
        arm: Name of the arm in question.
        against: Name of the arm that it is compared with.
        family: Comparisons of one family are corrected together for their number.
        is_claim: Whether an answer rests on it. Controls explain a result and claim nothing, so
            they neither are corrected nor make the correction of the claims stricter.
    """

    arm: str
    against: str
    family: str = "baseline"
    is_claim: bool = True


@dataclass(frozen=True)
class Comparison:
    """What is known of one arm beside another.

    Attributes:
        pair: The two arms.
        seeds: Seeds that both arms have a run of: all that is said rests on these.
        means: Mean AP of the runs of `against` and of `arm`.
        difference: Of its mean AP, arm minus the other.
        identical: Whether both found the same objects with the same scores, run by run, so that
            the difference is exactly 0 whatever the seeds and images.
        num_claims: Comparisons that were corrected together with this one, itself included.
        p_value: Of the exact permutation test over runs.
        adjusted_p_value: The same after Holm's correction for the claims of the family.
        smallest_effect: The true gain that a study like this calls supported four times out of
            five; infinite where it never could.
        verdict: What this allows one to say.
        needed: What would decide it.
    """

    pair: Pair
    seeds: tuple[int, ...]
    means: tuple[float, float]
    difference: Difference
    identical: bool
    num_claims: int
    p_value: float
    adjusted_p_value: float
    smallest_effect: float
    verdict: Verdict
    needed: Needed

    @property
    def finds_nothing(self) -> bool:
        """Whether neither arm found any object in any run."""
        return self.means == (0.0, 0.0)


def against_baseline(arms: Sequence[str], baseline: str) -> list[Pair]:
    """Return the pairs of every other arm with the baseline.

    Raises:
        ValueError: If there is no such arm or no other.
    """
    if baseline not in arms or len(arms) < 2:
        raise ValueError(
            f"baseline={baseline!r} must be one of at least two arms, but there are "
            f"{', '.join(arms) or 'none'}"
        )
    return [Pair(arm, baseline) for arm in arms if arm != baseline]


def compare_arms(
    runs: Mapping[str, Mapping[int, Evidence]],
    pairs: Sequence[Pair],
    *,
    margin: float = MARGIN,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Comparison]:
    """Compare arms pair by pair.

    Args:
        runs: What the runs of each arm found, by seed, all on the same images.
        pairs: The comparisons to make.
        margin: The smallest gain of AP that matters, as a fraction: 0.005 is half a point.
        num_resamples: Bootstrap resamples of the images.
        seed: Of the resamples.

    Returns:
        A comparison for each pair, in the same order.

    Raises:
        ValueError: If an arm of a pair is unknown, the two have no seed in common, or runs were
            scored on different objects.
    """
    for pair in pairs:
        for arm in (pair.arm, pair.against):
            if arm not in runs:
                raise ValueError(f"there is no arm {arm!r}, only {', '.join(runs) or 'none'}")
    compared = dict.fromkeys(arm for pair in pairs for arm in (pair.against, pair.arm))
    scores = _score_resamples({arm: runs[arm] for arm in compared}, num_resamples, seed)
    claims = Counter(pair.family for pair in pairs if pair.is_claim)
    found = [
        _compare(pair, runs, scores, claims[pair.family] if pair.is_claim else 1, margin)
        for pair in pairs
    ]
    for family in claims:
        members = [
            index for index, pair in enumerate(pairs) if pair.is_claim and pair.family == family
        ]
        adjusted = holm([found[index].p_value for index in members])
        for index, p_value in zip(members, adjusted, strict=True):
            found[index] = replace(found[index], adjusted_p_value=p_value)
    return [replace(one, verdict=_verdict(one, margin)) for one in found]


def _score_resamples(
    runs: Mapping[str, Mapping[int, Evidence]], num_resamples: int, seed: int
) -> dict[tuple[str, int], tuple[float, np.ndarray]]:
    """Return AP on all images, and on each resample, of every run."""
    of_all = [(arm, run_seed, run) for arm, part in runs.items() for run_seed, run in part.items()]
    if not of_all:
        return {}
    first = of_all[0][2]
    everything = np.ones((1, first.num_images), dtype=np.int64)
    copies = draw_images(first.num_images, num_resamples, seed=seed)
    scores = {}
    for arm, run_seed, run in of_all:
        if not run.has_images_of(first):
            raise ValueError(
                f"runs of {arm!r} were scored on other objects than those of "
                f"{of_all[0][0]!r}; score all of them on the same images and labels"
            )
        scores[arm, run_seed] = float(run.scores(everything)[0]), run.scores(copies)
    return scores


def _compare(
    pair: Pair,
    runs: Mapping[str, Mapping[int, Evidence]],
    scores: Mapping[tuple[str, int], tuple[float, np.ndarray]],
    num_claims: int,
    margin: float,
) -> Comparison:
    """Compare two arms; the verdict waits for the correction."""
    first, second = runs[pair.against], runs[pair.arm]
    seeds = tuple(sorted(set(first) & set(second)))
    if not seeds:
        raise ValueError(
            f"{pair.arm!r} has runs of seeds {sorted(second)} and {pair.against!r} of "
            f"{sorted(first)}: there is no seed that both have"
        )
    full = [np.array([scores[arm, s][0] for s in seeds]) for arm in (pair.against, pair.arm)]
    # no detection at all equals no detection at all, whatever the networks
    num_images = first[seeds[0]].num_images
    identical = all(not first[s].is_empty and first[s].equals(second[s]) for s in seeds)
    if identical:
        gap = Difference(0.0, 0.0, 0.0, 0.0, float("inf"), 0.0, 0.0, num_images)
    elif len(seeds) == 1:
        gap = difference_without_spread(*full, num_images=num_images)
    else:
        resampled = [
            np.stack([scores[arm, s][1] for s in seeds], axis=1) for arm in (pair.against, pair.arm)
        ]
        gap = difference(*full, *resampled, num_images=num_images)
    p_value = permutation_p_value(*full)
    return Comparison(
        pair,
        seeds,
        (float(full[0].mean()), float(full[1].mean())),
        gap,
        identical,
        num_claims,
        p_value,
        p_value,
        smallest_effect(gap, num_runs=len(seeds), num_claims=num_claims),
        Verdict.TOO_LITTLE_DATA,
        needed(
            gap,
            num_runs=len(seeds),
            margin=margin,
            num_claims=num_claims,
        ),
    )


def _verdict(found: Comparison, margin: float) -> Verdict:
    if found.finds_nothing:
        # equal by want of training, which says nothing about the arms
        return Verdict.TOO_LITTLE_DATA
    return judge(found.difference, found.adjusted_p_value, num_runs=len(found.seeds), margin=margin)
