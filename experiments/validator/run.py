"""Do the statistics of a study tell the truth? Simulated studies whose truth is known.

    python experiments/validator/run.py [processes=1] [trials=1000]

Writes results.json beside this file, after every setting. With 1,000 trials one core takes about
an hour.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.average_precision import average_precision, mean_average_precision
from mlla.study.comparison import Pair, compare_arms
from mlla.study.matches import Matches
from mlla.study.simulated import Truth, World, draw_study
from mlla.study.statistics import Difference, difference, draw_images
from mlla.study.verdict import Verdict

RESULTS = Path(__file__).parent / "results.json"
NUM_RESAMPLES, LEVEL = 200, 0.05
# seeds of each arm and images
SAME_MODEL = [(4, 50), (5, 100), (6, 200), (8, 200), (4, 1000)]
COVERAGE = [(seeds, images) for seeds in (4, 6, 8) for images in (50, 200, 1000)]
POWER = [(4, 50), (5, 100), (6, 200), (8, 200)]
# spread of skill over seeds, about 3.4 and 1.7 points of AP
LARGE_SPREAD, SMALL_SPREAD = 0.1, 0.05
EFFECT = 0.1
PILOT_TRIALS = 60


def trial(
    num_seeds: int, num_images: int, seed_spread: float, effect: float, number: int
) -> dict[str, float]:
    """Run one study and return what it says."""
    generator = np.random.default_rng([number, num_seeds, num_images, round(1e6 * effect)])
    runs = draw_study(World(seed_spread=seed_spread), num_seeds, num_images, effect, generator)
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


def faulty_trial(fault: str, num_seeds: int, num_images: int, number: int) -> bool:
    """Return whether the interval of a wrong computation excludes 0 though the arms are equal."""
    generator = np.random.default_rng([number, num_seeds, num_images])
    runs = draw_study(World(), num_seeds, num_images, 0.0, generator)
    found = faulty_difference(fault, list(runs["baseline"].values()), list(runs["arm"].values()))
    return found.low > 0 or found.high < 0


def faulty_difference(fault: str, first: list[Matches], second: list[Matches]) -> Difference:
    """Compare two arms with one thing done wrong."""
    num_images = first[0].objects.shape[1]
    copies = [draw_images(num_images, NUM_RESAMPLES, seed=1)] * 2
    if fault == "each arm has images of its own":
        copies[1] = draw_images(num_images, NUM_RESAMPLES, seed=2)
    if fault == "images are not resampled":
        copies = [np.ones_like(part) for part in copies]
    everything = np.ones((1, num_images), dtype=np.int64)
    full = [np.array([_score(one, everything)[0] for one in arm]) for arm in (first, second)]
    resampled = [
        np.stack([_score(one, part) for one in arm], axis=1)
        for arm, part in zip((first, second), copies, strict=True)
    ]
    if fault == "seeds are left out":
        full = [np.full_like(scores, scores.mean()) for scores in full]
        resampled = [
            np.repeat(s.mean(axis=1, keepdims=True), s.shape[1], axis=1) for s in resampled
        ]
    if fault == "runs are counted twice":
        full = [np.tile(scores, 2) for scores in full]
        resampled = [np.tile(s, (1, 2)) for s in resampled]
    return difference(*full, *resampled)


FAULTS = (
    "none",
    "each arm has images of its own",
    "images are not resampled",
    "seeds are left out",
    "runs are counted twice",
)


def rate(values: Any) -> dict[str, float]:
    """Return a rate with the standard error that so many trials leave."""
    mean = float(np.mean(values))
    error = math.sqrt(mean * (1 - mean) / len(values))
    return {"rate": round(mean, 4), "standard_error": round(error, 4)}


def same_model(trials: int, run: Callable[..., Any], _truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield how often a difference is claimed between arms that are the same."""
    for seeds, images in SAME_MODEL:
        found = run(partial(trial, seeds, images, LARGE_SPREAD, 0.0), trials)
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
    true = truth.difference(EFFECT, SMALL_SPREAD)
    for seeds, images in COVERAGE:
        found = run(partial(trial, seeds, images, SMALL_SPREAD, EFFECT), trials)
        yield {
            "seeds": seeds,
            "images": images,
            "trials": trials,
            "true_difference": round(true, 4),
            "mean_estimate": round(float(found["estimate"].mean()), 4),
            "mean_half_width": round(float((found["high"] - found["low"]).mean() / 2), 4),
            "interval_covers_truth": rate((found["low"] <= true) & (true <= found["high"])),
        }


def power(trials: int, run: Callable[..., Any], truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield how often a gain as large as the stated smallest effect is called supported."""
    for seeds, images in POWER:
        pilot = run(partial(trial, seeds, images, SMALL_SPREAD, 0.0), PILOT_TRIALS)
        stated = float(np.mean(pilot["smallest"]))
        effect = truth.effect(stated, SMALL_SPREAD)
        found = run(partial(trial, seeds, images, SMALL_SPREAD, effect), trials)
        yield {
            "seeds": seeds,
            "images": images,
            "trials": trials,
            "stated_smallest_effect": round(stated, 4),
            "mean_estimate": round(float(found["estimate"].mean()), 4),
            "verdict_is_supported": rate(found["supported"]),
        }


def faults(trials: int, run: Callable[..., Any], _truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield the false positive rate of computations with a planted fault."""
    for fault in FAULTS:
        found = run(partial(faulty_trial, fault, 5, 100), trials)
        yield {
            "fault": fault,
            "seeds": 5,
            "images": 100,
            "trials": trials,
            "interval_excludes_zero": rate(found["value"]),
        }


def main() -> None:
    """Run everything and write the rates."""
    options = dict(word.split("=") for word in sys.argv[1:])
    processes, trials = int(options.get("processes", 1)), int(options.get("trials", 1000))
    fewer = max(2 * trials // 5, 2)
    truth = Truth()
    versions = {name: version(name) for name in ("mlla", "numpy", "scipy", "numba")}
    content: dict[str, Any] = {"date": date.today().isoformat(), "versions": versions}
    content["resamples"] = NUM_RESAMPLES
    with ProcessPoolExecutor(processes) as pool:

        def run(one: Callable[[int], Any], number: int) -> dict[str, np.ndarray]:
            found = list(pool.map(one, range(number), chunksize=10))
            rows = [item if isinstance(item, dict) else {"value": item} for item in found]
            return {key: np.array([row[key] for row in rows]) for key in rows[0]}

        for question, number in (
            (same_model, trials),
            (coverage, fewer),
            (power, fewer),
            (faults, fewer),
        ):
            content[question.__name__] = []
            for row in question(number, run, truth):
                print(question.__name__, row, flush=True)
                content[question.__name__].append(row)
                draft = RESULTS.with_suffix(".writing")
                draft.write_text(json.dumps(content, indent=1) + "\n")
                draft.replace(RESULTS)


def _score(matches: Matches, copies: np.ndarray) -> np.ndarray:
    return mean_average_precision(average_precision(matches, copies))


if __name__ == "__main__":
    main()
