"""Do the statistics of a study tell the truth? Simulated studies whose truth is known.

    python experiments/validator/run.py [TRIALS]

Writes results.json beside this file. 1,000 trials take about half an hour on two cores.
"""

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np

from mlla.study.average_precision import average_precision, mean_average_precision
from mlla.study.comparison import Pair, compare_arms
from mlla.study.simulated import World, draw_run, draw_test_set
from mlla.study.verdict import Verdict

RESULTS = Path(__file__).parent / "results.json"
SKILL, LEVEL, NUM_RESAMPLES = 0.3, 0.05, 300
# seeds, images, spread of skill over seeds, effect on skill
SETTINGS = [
    (4, 50, 0.1, 0.0),
    (5, 100, 0.1, 0.0),
    (6, 200, 0.02, 0.0),
    (8, 1000, 0.1, 0.0),
    (4, 50, 0.1, 0.1),
    (5, 100, 0.02, 0.05),
    (5, 1000, 0.1, 0.2),
    (8, 50, 0.05, 0.1),
]


def true_difference(world: World, effect: float) -> float:
    """Estimate the difference of mean AP over all images and seeds from very large samples."""
    if effect == 0:
        return 0.0
    generator = np.random.default_rng(12345)
    images = draw_test_set(world, 4000, generator)
    everything = np.ones((1, 4000), dtype=np.int64)
    # skills on a grid, weighted by how often seeds have them
    skills = np.linspace(-2.5, 2.5, 41) * world.seed_spread
    weights = np.exp(-(np.linspace(-2.5, 2.5, 41) ** 2) / 2)
    fixed = World(**{**vars(world), "seed_spread": 0.0})
    means = [
        np.average(
            [
                mean_average_precision(
                    average_precision(
                        draw_run(fixed, images, SKILL + shift + skill, generator), everything
                    )
                )[0]
                for skill in skills
            ],
            weights=weights,
        )
        for shift in (0.0, effect)
    ]
    return float(means[1] - means[0])


def trial(setting: tuple[int, int, float, float], seed: int) -> dict[str, float]:
    """Run one study and return what it says."""
    seeds, num_images, spread, effect = setting
    world, generator = World(seed_spread=spread), np.random.default_rng([seed, seeds, num_images])
    images = draw_test_set(world, num_images, generator)
    runs = {
        arm: {s: draw_run(world, images, SKILL + shift, generator) for s in range(seeds)}
        for arm, shift in {"baseline": 0.0, "arm": effect}.items()
    }
    found = compare_arms(runs, [Pair("arm", "baseline")], num_resamples=NUM_RESAMPLES, seed=seed)[0]
    return {
        "estimate": found.difference.estimate,
        "low": found.difference.low,
        "high": found.difference.high,
        "smallest": found.smallest_effect,
        "p_value": found.p_value,
        "claims": found.verdict in (Verdict.SUPPORTED, Verdict.HARMFUL),
        "decides": found.difference.low > 0 or found.difference.high < 0,
    }


def main() -> None:
    """Run all settings and write the rates."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    rows = []
    with ProcessPoolExecutor() as pool:
        for setting in SETTINGS:
            seeds, num_images, spread, effect = setting
            truth = true_difference(World(seed_spread=spread), effect)
            found = list(pool.map(partial(trial, setting), range(trials), chunksize=10))
            column = {key: np.array([one[key] for one in found]) for key in found[0]}
            covered = (column["low"] <= truth) & (truth <= column["high"])
            rows.append(
                {
                    "seeds": seeds,
                    "images": num_images,
                    "seed_spread": spread,
                    "true_difference": round(truth, 4),
                    "mean_estimate": round(float(column["estimate"].mean()), 4),
                    "interval_covers_truth": round(float(covered.mean()), 3),
                    "interval_excludes_zero": round(float(column["decides"].mean()), 3),
                    "permutation_rejects": round(float((column["p_value"] <= LEVEL).mean()), 3),
                    "verdict_claims_a_difference": round(float(column["claims"].mean()), 3),
                    "mean_smallest_effect": round(float(column["smallest"].mean()), 4),
                }
            )
            print(rows[-1], flush=True)
            content = {"trials": trials, "date": date.today().isoformat(), "settings": rows}
            draft = RESULTS.with_suffix(".writing")
            draft.write_text(json.dumps(content, indent=1) + "\n")
            draft.replace(RESULTS)


if __name__ == "__main__":
    main()
