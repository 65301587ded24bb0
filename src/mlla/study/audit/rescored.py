"""Two arms of existing runs on the same images: difference, interval, verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlla.study.scoring.ground_truth import GroundTruth
from mlla.study.scoring.matches import Matches
from mlla.study.statistics.comparison import MARGIN, NUM_RESAMPLES
from mlla.study.statistics.difference import (
    Difference,
    difference,
    draw_images,
    holm,
    permutation_p_value,
)
from mlla.study.statistics.verdict import Needed, Verdict, judge, needed


@dataclass(frozen=True)
class Rescored:
    """Two arms on the same images, scored by the outside evaluator.

    Attributes:
        split: "test", or "val" where there is no test split.
        checkpoint: "best" where the split did not choose it, else "last".
        num_images: Number of images.
        digest: SHA-256 over images and labels.
        arm_scores: AP of each run of the arm.
        against_scores: AP of each run of the other.
        difference: Arm minus the other; None where an arm has fewer than two runs.
        p_value: Of the exact permutation test, corrected for the number of claims; None where an
            arm has fewer than two runs.
        verdict: What this allows one to say.
        needed: What would decide it; None without an interval.
    """

    split: str
    checkpoint: str
    num_images: int
    digest: str
    arm_scores: tuple[float, ...]
    against_scores: tuple[float, ...]
    difference: Difference | None
    p_value: float | None
    verdict: Verdict
    needed: Needed | None


def compare_scored(
    arm: Sequence[Matches], against: Sequence[Matches], truth: GroundTruth, split: str
) -> Rescored:
    """Compare two arms on the same images; the verdict waits for the correction.

    Args:
        arm: Matches of the runs of the arm in question, one or more.
        against: Matches of the runs of the other.
        truth: The images.
        split: "test" or "val".

    Returns:
        The result. Unlike in a study, the runs of the two arms need not have the same seeds.
    """
    copies = draw_images(len(truth.images), NUM_RESAMPLES)
    full, resampled = [], []
    for runs in (against, arm):
        columns = list(_scores(runs, copies))
        full.append(np.array([whole for whole, _ in columns]))
        resampled.append(np.stack([parts for _, parts in columns], axis=1))
    testable = min(len(arm), len(against), len(truth.images)) > 1
    return Rescored(
        split,
        "best" if split == "test" else "last",
        len(truth.images),
        truth.digest,
        tuple(full[1].tolist()),
        tuple(full[0].tolist()),
        difference(*full, *resampled, num_images=len(truth.images)) if testable else None,
        permutation_p_value(*full) if testable else None,
        Verdict.TOO_LITTLE_DATA,
        None,
    )


def corrected(found: Mapping[tuple[str, str], Rescored]) -> dict[tuple[str, str], Rescored]:
    """Judge all claims together, corrected for their number.

    Args:
        found: Results by the names of the two arms.

    Returns:
        The same with verdicts.
    """
    result = dict(found)
    testable = {pair: one for pair, one in found.items() if one.p_value is not None}
    adjusted = holm([float(one.p_value or 0) for one in testable.values()])
    for (pair, one), p_value in zip(testable.items(), adjusted, strict=True):
        gap = one.difference
        num_runs = min(len(one.arm_scores), len(one.against_scores))
        if gap is None:
            continue
        result[pair] = replace(
            one,
            p_value=p_value,
            verdict=judge(gap, p_value, num_runs=num_runs, margin=MARGIN),
            needed=needed(
                gap,
                num_runs=num_runs,
                margin=MARGIN,
                num_claims=len(testable),
            ),
        )
    return result


def _scores(runs: Sequence[Matches], copies: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    everything = np.ones((1, copies.shape[1]), dtype=np.int64)
    for matches in runs:
        yield float(matches.scores(everything)[0]), matches.scores(copies)
