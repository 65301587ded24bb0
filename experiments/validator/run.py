"""Do the statistics of a study tell the truth? Simulated studies whose truth is known.

    python experiments/validator/run.py [processes=1] [trials=1000] [questions=same_model,power]

Writes results.json beside this file, after every setting; what it has of questions that are not
asked stays. With 1,000 trials one core takes about an hour.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.scoring.matches import Matches
from mlla.study.statistics.comparison import Pair, compare_arms
from mlla.study.statistics.difference import Difference, difference, draw_images
from mlla.study.statistics.simulated import Truth, World, draw_study
from mlla.study.statistics.verdict import Verdict

RESULTS = Path(__file__).parent / "results.json"
NUM_RESAMPLES, LEVEL = 200, 0.05
# seeds of each arm and images
SAME_MODEL = [(4, 50), (5, 100), (6, 200), (8, 200), (4, 1000)]
COVERAGE = [(seeds, images) for seeds in (4, 6, 8) for images in (50, 200, 1000)]
POWER = [(4, 50), (5, 100), (6, 200), (8, 200)]
FAULTS_AT = [("same", 4, 50), ("different", 8, 50)]
# the same model twice, whose seeds vary by about 3.4 points of AP
SAME = World(seed_spread=0.1)
# two models that like different images, whose seeds vary by about 1.7 points
DIFFERENT = World(seed_spread=0.05, arm_spread=0.3)
WORLDS = {"same": SAME, "different": DIFFERENT}
EFFECT = 0.1
PILOT_TRIALS = 60


def trial(
    world: World, num_seeds: int, num_images: int, effect: float, number: int
) -> dict[str, float]:
    """Run one study and return what it says."""
    generator = np.random.default_rng([number, num_seeds, num_images, round(1e6 * effect)])
    runs = draw_study(world, num_seeds, num_images, effect, generator)
    found = compare_arms(runs, [Pair("arm", "baseline")], num_resamples=NUM_RESAMPLES, seed=number)
    one = found[0]
    return {
        "estimate": one.difference.estimate,
        "low": one.difference.low,
        "high": one.difference.high,
        "smallest": one.smallest_effect,
        "p_value": one.p_value,
        "supported": one.verdict is Verdict.SUPPORTED,
        "harmful": one.verdict is Verdict.HARMFUL,
    }


@dataclass(frozen=True)
class Scores:
    """AP of two arms: on all images, and on resampled ones."""

    full: list[np.ndarray]
    resampled: list[np.ndarray]
    # the second arm on other resamples than the first
    unpaired: np.ndarray
    num_images: int


def score_study(runs: Mapping[str, Mapping[int, Matches]], number: int) -> Scores:
    """Score a study of two arms."""
    first, second = (list(arm.values()) for arm in runs.values())
    num_images = first[0].num_images
    everything = np.ones((1, num_images), dtype=np.int64)
    copies, others = (
        draw_images(num_images, NUM_RESAMPLES, seed=2 * number + part) for part in (0, 1)
    )

    def scores(arm: list[Matches], copies: np.ndarray) -> np.ndarray:
        return np.stack([one.scores(copies) for one in arm], axis=1)

    return Scores(
        [scores(arm, everything)[0] for arm in (first, second)],
        [scores(arm, copies) for arm in (first, second)],
        scores(second, others),
        num_images,
    )


def right(scores: Scores) -> Difference:
    return difference(*scores.full, *scores.resampled, num_images=scores.num_images)


def each_arm_has_images_of_its_own(scores: Scores) -> Difference:
    return difference(
        *scores.full, scores.resampled[0], scores.unpaired, num_images=scores.num_images
    )


def images_are_not_resampled(scores: Scores) -> Difference:
    still = [np.tile(full, (2, 1)) for full in scores.full]
    return difference(*scores.full, *still, num_images=scores.num_images)


def seeds_are_left_out(scores: Scores) -> Difference:
    means = [np.full_like(full, full.mean()) for full in scores.full]
    resampled = [
        np.repeat(part.mean(axis=1, keepdims=True), part.shape[1], axis=1)
        for part in scores.resampled
    ]
    return difference(*means, *resampled, num_images=scores.num_images)


def runs_are_counted_twice(scores: Scores) -> Difference:
    twice = [np.tile(full, 2) for full in scores.full]
    return difference(
        *twice, *(np.tile(part, (1, 2)) for part in scores.resampled), num_images=scores.num_images
    )


FAULTS = (
    right,
    each_arm_has_images_of_its_own,
    images_are_not_resampled,
    seeds_are_left_out,
    runs_are_counted_twice,
)


def faulty_trial(
    world: World, num_seeds: int, num_images: int, number: int
) -> dict[str, Difference]:
    """Compare arms that are equally good, rightly and with one thing done wrong."""
    generator = np.random.default_rng([number, num_seeds, num_images])
    scores = score_study(draw_study(world, num_seeds, num_images, 0.0, generator), number)
    return {compare.__name__: compare(scores) for compare in FAULTS}


def rate(values: Any) -> dict[str, float]:
    """Return a rate with the standard error that so many trials leave."""
    mean = float(np.mean(values))
    error = math.sqrt(mean * (1 - mean) / len(values))
    return {"rate": round(mean, 4), "standard_error": round(error, 4)}


def same_model(trials: int, run: Callable[..., Any], _truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield how often a difference is claimed between arms that are the same."""
    for seeds, images in SAME_MODEL:
        found = run(partial(trial, SAME, seeds, images, 0.0), trials)
        yield {
            "seeds": seeds,
            "images": images,
            "trials": trials,
            "interval_excludes_zero": rate((found["low"] > 0) | (found["high"] < 0)),
            "permutation_test_rejects": rate(found["p_value"] <= LEVEL),
            "verdict_is_supported_or_harmful": rate(found["supported"] | found["harmful"]),
        }


def coverage(trials: int, run: Callable[..., Any], truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield how often the interval covers a true difference that is not zero."""
    true = truth.difference(EFFECT, DIFFERENT.seed_spread)
    for seeds, images in COVERAGE:
        # many images take long, and are where the interval is easiest
        number = trials if images < 1000 else 2 * trials // 5
        found = run(partial(trial, DIFFERENT, seeds, images, EFFECT), number)
        yield {
            "seeds": seeds,
            "images": images,
            "trials": number,
            "true_difference": round(true, 4),
            "mean_estimate": round(float(found["estimate"].mean()), 4),
            "mean_half_width": round(float((found["high"] - found["low"]).mean() / 2), 4),
            "interval_covers_truth": rate((found["low"] <= true) & (true <= found["high"])),
        }


def power(trials: int, run: Callable[..., Any], truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield how often a gain as large as the stated smallest effect is called supported."""
    for seeds, images in POWER:
        pilot = run(partial(trial, DIFFERENT, seeds, images, 0.0), PILOT_TRIALS)
        stated = float(np.mean(pilot["smallest"]))
        effect = truth.effect(stated, DIFFERENT.seed_spread)
        found = run(partial(trial, DIFFERENT, seeds, images, effect), trials)
        yield {
            "seeds": seeds,
            "images": images,
            "trials": trials,
            "stated_smallest_effect": round(stated, 4),
            "mean_estimate": round(float(found["estimate"].mean()), 4),
            "verdict_is_supported": rate(found["supported"]),
        }


def faults(trials: int, run: Callable[..., Any], _truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield what gives a planted fault away, where both arms are equally good."""
    for world, seeds, images in FAULTS_AT:
        found = run(partial(faulty_trial, WORLDS[world], seeds, images), trials)
        for name, gaps in found.items():
            yield {
                "computation": name,
                "models": world,
                "seeds": seeds,
                "images": images,
                "trials": trials,
                "interval_excludes_zero": rate([gap.low > 0 or gap.high < 0 for gap in gaps]),
                "standard_error_over_true_one": round(width_ratio(list(gaps)), 3),
            }


def width_ratio(gaps: list[Difference]) -> float:
    """Return the stated standard error beside the spread of the estimates."""
    stated = np.sqrt(np.mean([gap.standard_error**2 for gap in gaps]))
    return float(stated / np.std([gap.estimate for gap in gaps], ddof=1))


def main() -> None:
    """Run everything and write the rates."""
    options = dict(word.split("=") for word in sys.argv[1:])
    processes, trials = int(options.get("processes", 1)), int(options.get("trials", 1000))
    questions = {one.__name__: one for one in (same_model, faults, power, coverage)}
    asked = options.get("questions", ",".join(questions)).split(",")
    truth = Truth(DIFFERENT)
    content: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    versions = {name: version(name) for name in ("mlla", "numpy", "scipy", "numba")}
    content |= {"versions": versions, "resamples": NUM_RESAMPLES}
    with ProcessPoolExecutor(processes) as pool:

        def run(one: Callable[[int], dict[str, Any]], number: int) -> dict[str, np.ndarray]:
            rows = list(pool.map(one, range(number), chunksize=10))
            return {key: np.array([row[key] for row in rows]) for key in rows[0]}

        for name in asked:
            # a rate to be told from 5 % needs more trials than one to be told from 80 %
            number = max(2 * trials // 5, 2) if name == "power" else trials
            content[name] = {"date": date.today().isoformat(), "settings": []}
            for row in questions[name](number, run, truth):
                print(name, row, flush=True)
                content[name]["settings"].append(row)
                draft = RESULTS.with_suffix(".writing")
                draft.write_text(json.dumps(content, indent=1) + "\n")
                draft.replace(RESULTS)


if __name__ == "__main__":
    main()
