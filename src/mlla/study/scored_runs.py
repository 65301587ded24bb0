"""The runs of a study, read from their folders and scored."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.study.files import read_json
from mlla.study.ground_truth import GroundTruth
from mlla.study.score import Score, score


@dataclass(frozen=True)
class ScoredRun:
    """A finished run.

    Attributes:
        seed: Its seed.
        folder: Its folder.
        outcome: What its outcome.json says.
        predictions: Its detections on the scored images, in the format of COCO.
        score: What the evaluator says of them.
    """

    seed: int
    folder: Path
    outcome: Mapping[str, Any]
    predictions: list[dict[str, Any]]
    score: Score


@dataclass(frozen=True)
class ArmRuns:
    """The runs of one arm.

    Attributes:
        finished: Finished runs by seed.
        failures: One line about each failed run, by seed.
        unfinished: Seeds that were not run, or not to the end.
    """

    finished: dict[int, ScoredRun]
    failures: dict[int, str]
    unfinished: list[int]


def arm_folder(out: Path, name: str) -> Path:
    """Return the folder of the runs of an arm."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-+@") else "_" for c in name)
    return out / "runs" / safe


def read_runs(out: Path, arm: str, seeds: list[int], truth: GroundTruth) -> ArmRuns:
    """Read and score the runs of an arm.

    Args:
        out: Folder of the study.
        arm: Name of the arm.
        seeds: Seeds that it should have.
        truth: The labelled images that the study scores on.

    Returns:
        What there is.

    Raises:
        ValueError: If a finished run is not as it was left, or its predictions are of other images.
    """
    runs = ArmRuns({}, {}, [])
    for seed in seeds:
        folder = arm_folder(out, arm) / f"seed-{seed}"
        if (folder / "outcome.json").exists():
            outcome = read_json(folder / "outcome.json")
            packed = (folder / "predictions.json.gz").read_bytes()
            predictions = json.loads(gzip.decompress(packed))
            scored = score(truth.coco, predictions)
            runs.finished[seed] = ScoredRun(seed, folder, outcome, predictions, scored)
        elif (folder / "failure.json").exists():
            runs.failures[seed] = str(read_json(folder / "failure.json")["error"])
        else:
            runs.unfinished.append(seed)
    return runs
