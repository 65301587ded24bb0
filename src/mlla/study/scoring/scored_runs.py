"""The runs of a study, read from their folders and scored."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.study.files import read_json
from mlla.study.planning.arms import Arm
from mlla.study.runs.run_folder import FAILURE, OUTCOME, PREDICTIONS, Outcome, read_outcome
from mlla.study.scoring.ground_truth import GroundTruth
from mlla.study.scoring.score import Score, score


@dataclass(frozen=True)
class ScoredRun:
    """A finished run.

    Attributes:
        seed: Its seed.
        folder: Its folder in the study.
        source: Where it was trained, with weights and results.csv: the same folder, or that of an
            existing run that was added.
        outcome: What its outcome.json says.
        predictions: Its detections on the scored images, in the format of COCO.
        score: What the evaluator says of them.
    """

    seed: int
    folder: Path
    source: Path
    outcome: Outcome
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


def read_runs(out: Path, arm: Arm, seeds: list[int], truth: GroundTruth) -> ArmRuns:
    """Read and score the runs of an arm.

    Args:
        out: Folder of the study.
        arm: The arm.
        seeds: Seeds that it should have.
        truth: The labelled images that the study scores on.

    Returns:
        What there is.

    Raises:
        ValueError: If a finished run is not as it was left, or its predictions are of other images.
    """
    runs = ArmRuns({}, {}, [])
    for seed in seeds:
        folder = out / "runs" / arm.folder / f"seed-{seed}"
        if (folder / OUTCOME).exists():
            outcome = read_outcome(folder)
            existing = read_json(folder / OUTCOME).get("existing")
            source = Path(existing["folder"]) if existing else folder
            predictions = json.loads(gzip.decompress((folder / PREDICTIONS).read_bytes()))
            scored = score(truth.coco, predictions)
            runs.finished[seed] = ScoredRun(seed, folder, source, outcome, predictions, scored)
        elif (folder / FAILURE).exists():
            runs.failures[seed] = str(read_json(folder / FAILURE)["error"])
        else:
            runs.unfinished.append(seed)
    return runs
