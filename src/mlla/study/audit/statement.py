"""What a claim is worth, in the words of a careful reviewer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlla.study.audit.claims import NOTHING_FOUND, Claim, Spread
from mlla.study.audit.finding import Finding, Weight, counted, listed
from mlla.study.audit.rescored import Rescored
from mlla.study.statistics.comparison import MARGIN
from mlla.study.statistics.verdict import MIN_RUNS, Verdict

_LEVEL = 0.05
_NOTHING = "NOTHING TO COMPARE"
# nothing more has to be trained to say this
SETTLED = ("SUPPORTED", "WORSE", "NO GAIN THAT MATTERS")
_VERDICTS = {
    Verdict.SUPPORTED: "SUPPORTED",
    Verdict.HARMFUL: "WORSE",
    Verdict.NOT_SUPPORTED: "NO GAIN THAT MATTERS",
    Verdict.TOO_LITTLE_DATA: "UNDECIDED",
}


@dataclass(frozen=True)
class Statement:
    """The answer to one claim.

    Attributes:
        headline: In capitals, a few words.
        reason: Why, in one or two sentences.
        sentences: The numbers it rests on, a sentence for each source.
    """

    headline: str
    reason: str
    sentences: tuple[str, ...]


def state(claim: Claim, rescored: Rescored | None, faults: Sequence[Finding]) -> Statement:
    """Say what a claim is worth.

    Args:
        claim: The two arms, from results.csv.
        rescored: The same from predictions, if there are any.
        faults: Faults in the order in which they are numbered.

    Returns:
        The statement.
    """
    headline, reason = _answer(claim, rescored)
    spoilers = [
        number
        for number, fault in enumerate(faults, 1)
        if fault.weight is Weight.FAULT and {claim.arm, claim.against} <= set(fault.spoils)
    ]
    if spoilers and headline != _NOTHING:
        which = f"fault{'s' if len(spoilers) > 1 else ''} {listed(spoilers, 9)}"
        reason += f" It may come from something else than what is compared: see {which}."
        if min(claim.num_runs) >= MIN_RUNS:
            headline = "NOT THIS ALONE"
    return Statement(headline, reason, tuple(_sentences(claim, rescored)))


def _answer(claim: Claim, rescored: Rescored | None) -> tuple[str, str]:
    first, second = claim.num_runs
    few = min(first, second)
    if few == 0:
        empty = claim.arm if first == 0 else claim.against
        return _NOTHING, f"{empty} has no finished run with scores."
    if max(claim.figures.best.mean, claim.against_figures.best.mean) < NOTHING_FOUND:
        return (
            _NOTHING,
            f"Neither arm learned anything: their best epochs score below {NOTHING_FOUND}.",
        )
    if first == second == 1:
        return (
            "ONE SEED EACH",
            "One seed each: this says nothing about the difference, since two trainings of the "
            "same model differ as well, and nobody knows by how much here.",
        )
    if few < MIN_RUNS:
        return (
            "TOO FEW SEEDS",
            f"With {second} and {first} runs, even if all of one arm beat all of the other, p "
            f"could not be below {claim.smallest_p_value:.2g}: no result of so few runs supports "
            "a claim.",
        )
    if rescored is not None and rescored.difference is not None:
        return _VERDICTS[rescored.verdict], _judged(claim, rescored)
    if claim.p_value > _LEVEL:
        return "NOT SHOWN", "Chance alone gives differences like this one."
    direction = "better" if claim.difference > 0 else "worse"
    return (
        f"{direction.upper()} ON VAL",
        f"Over seeds, {claim.arm} is {direction} on the val images by more than chance gives. "
        "Whether that holds on images that chose nothing was not scored here.",
    )


def _judged(claim: Claim, rescored: Rescored) -> str:
    if rescored.verdict is Verdict.SUPPORTED:
        return f"{claim.arm} is better than {claim.against}, over seeds and images."
    if rescored.verdict is Verdict.HARMFUL:
        return f"{claim.arm} is worse than {claim.against}, over seeds and images."
    if rescored.verdict is Verdict.NOT_SUPPORTED:
        return f"A gain of {MARGIN} or more is ruled out."
    ways = [
        f"{count} {what}"
        for count, what in (
            (rescored.needed and rescored.needed.runs, "runs of each arm"),
            (rescored.needed and rescored.needed.images, "images to score on"),
        )
        if count
    ]
    decided = f" Roughly {' or '.join(ways)} would decide it." if ways else ""
    return f"The interval holds both no gain and a gain that matters.{decided}"


def _sentences(claim: Claim, rescored: Rescored | None) -> list[str]:
    if min(claim.num_runs) == 0:
        return []
    text = (
        f"results.csv, val, last epoch: {_spread(claim.figures.last)} against "
        f"{_spread(claim.against_figures.last)}, difference {claim.difference:+.4f}"
    )
    if math.isfinite(claim.p_value):
        text += f", exact permutation test p = {claim.p_value:.2g}"
    lines = [f"{text}. Best epochs: {claim.best_difference:+.4f}."]
    if rescored is not None:
        lines.append(_rescored(rescored))
    return lines


def _rescored(found: Rescored) -> str:
    means = [sum(scores) / len(scores) for scores in (found.arm_scores, found.against_scores)]
    images = counted(found.num_images, f"{found.split} image")
    text = (
        f"{found.checkpoint}.pt scored anew on {images}: "
        f"{means[0]:.4f} against {means[1]:.4f}, difference {means[0] - means[1]:+.4f}"
    )
    if found.difference is None:
        return f"{text}; without repetitions there is no interval."
    gap = found.difference
    text += f", 95 % interval {gap.low:+.4f} to {gap.high:+.4f}, p = {found.p_value:.2g}."
    if found.split == "val":
        text += " There is no test split: these images chose best.pt, so last.pt was scored."
    return text


def _spread(found: Spread) -> str:
    deviation = "" if math.isnan(found.deviation) else f" +- {found.deviation:.4f}"
    return f"{found.mean:.4f}{deviation}"
