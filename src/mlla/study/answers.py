"""The comparisons of a study, and what each of them says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlla.study.scoring.scored_runs import ArmRuns
from mlla.study.statistics.comparison import Comparison, Pair, compare_arms
from mlla.study.statistics.difference import is_not_worse
from mlla.study.statistics.sentences import sentence
from mlla.study.statistics.verdict import MIN_RUNS

# what claims to be better; the other kinds explain
CLAIMS = ("variant", "added")
FASTER_THAN = 0.2


def compare_study(
    arms: Sequence[Mapping[str, Any]], runs: Mapping[str, ArmRuns], margin: float
) -> dict[tuple[str, str], Comparison]:
    """Compare every arm with the baseline and every variant with its convolution control.

    Args:
        arms: Arms as in study.json; the first is the baseline.
        runs: Runs of each arm.
        margin: The smallest gain of AP that matters, as a fraction.

    Returns:
        The comparisons by the names of the two arms, as far as they have a seed in common.
    """
    baseline = arms[0]["name"]
    pairs = [
        Pair(arm["name"], baseline, "baseline", is_claim=arm["kind"] in CLAIMS) for arm in arms[1:]
    ]
    pairs += [
        Pair(arm["control_of"], arm["name"], "control")
        for arm in arms
        if arm["kind"] == "convolution" and arm["control_of"]
    ]
    matches = {
        name: {seed: run.score.matches for seed, run in of_arm.finished.items()}
        for name, of_arm in runs.items()
    }
    possible = [pair for pair in pairs if set(matches[pair.arm]) & set(matches[pair.against])]
    found = compare_arms(matches, possible, margin=margin)
    return {(one.pair.arm, one.pair.against): one for one in found}


def answers(
    plan: Mapping[str, Any],
    found: Mapping[tuple[str, str], Comparison],
    costs: Mapping[str, Mapping[str, Any]],
    num_images: int,
) -> list[dict[str, Any]]:
    """Put comparisons into numbers and words.

    Args:
        plan: Content of study.json.
        found: What `compare_study` found.
        costs: What `study_costs` found.
        num_images: Images that were scored.

    Returns:
        Entries of "comparisons" in results.json.
    """
    arms = plan["arms"]
    baseline = arms[0]["name"]
    kinds = {arm["name"]: arm["kind"] for arm in arms}
    controls = {arm["control_of"]: arm["name"] for arm in arms if arm["kind"] == "convolution"}
    entries = []
    for one in found.values():
        arm, against = one.pair.arm, one.pair.against
        control = controls.get(arm, "") if against == baseline else ""
        equivalence = None
        if against == baseline:
            equivalence = _equivalence(one, plan["margin"], costs[arm]["latency"])
        text = sentence(
            one,
            kind=kinds[arm],
            margin=plan["margin"],
            num_images=num_images,
            missing_seeds=[seed for seed in plan["seeds"] if seed not in one.seeds],
            against_control=found.get((arm, control)),
            control=found.get((control, baseline)),
            equivalence=equivalence,
        )
        entries.append(
            {
                "arm": arm,
                "against": against,
                "family": one.pair.family,
                "is_claim": one.pair.is_claim,
                "seeds": list(one.seeds),
                "means": {"against": one.means[0], "arm": one.means[1]},
                "identical": one.identical,
                "difference": vars(one.difference),
                "p_value": one.p_value,
                "adjusted_p_value": one.adjusted_p_value,
                "smallest_effect": one.smallest_effect,
                "verdict": one.verdict.value,
                "needed": vars(one.needed),
                "equivalence": equivalence,
                "sentence": vars(text),
            }
        )
    return entries


def _equivalence(
    found: Comparison, margin: float, latency: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Test whether an arm is no worse than the baseline, and faster."""
    enough = len(found.seeds) >= MIN_RUNS
    not_worse = is_not_worse(found.difference, margin) if enough else None
    ratios = {name: one["ratio"] for name, one in latency.items() if one["ratio"] is not None}
    runtime = next(iter(ratios), None)
    faster = None if runtime is None else ratios[runtime]["high"] <= 1 - FASTER_THAN
    return {
        "margin": margin,
        "not_worse": not_worse,
        "faster_than": FASTER_THAN,
        "runtime": runtime,
        "ratio": ratios.get(runtime or ""),
        "faster": faster,
        "holds": None if not_worse is None or faster is None else not_worse and faster,
    }
