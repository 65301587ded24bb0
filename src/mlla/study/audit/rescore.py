"""The weights of existing runs, scored anew on images that did not choose them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mlla.study.audit.case import Case
from mlla.study.audit.datasets import Dataset
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.finding import Finding, Weight
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.trust import refuse_foreign
from mlla.study.average_precision import average_precision, mean_average_precision
from mlla.study.comparison import MARGIN, NUM_RESAMPLES
from mlla.study.ground_truth import GroundTruth, read_ground_truth
from mlla.study.matches import Matches
from mlla.study.predictions import predict
from mlla.study.run_folder import PREDICTIONS
from mlla.study.score import score
from mlla.study.statistics import (
    Difference,
    difference,
    draw_images,
    holm,
    permutation_p_value,
)
from mlla.study.verdict import Needed, Verdict, judge, needed


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


@dataclass
class Rescoring:
    """Scores of all claims that could be scored.

    Attributes:
        of: Result by the names of arm and other arm.
        findings: Why something could not be scored.
    """

    of: dict[tuple[str, str], Rescored] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def rescore(case: Case, *, trust: bool = False, quiet: bool = False) -> Rescoring:
    """Predict with the weights of every arm that is compared, and score what they find.

    Args:
        case: The runs.
        trust: Whether weights may be loaded that name code of others.
        quiet: Show no progress.

    Returns:
        The scores; a run that cannot be scored is left out and named.
    """
    result = Rescoring()
    groups = {group.name: group for pair in case.pairs for group in pair}
    todo = [
        (group.name, run)
        for group in groups.values()
        for run in group.distinct
        if case.dataset_of(run).problem is None
    ]
    scored: dict[str, list[tuple[str, GroundTruth, Matches]]] = {name: [] for name in groups}
    for name, run in tqdm(todo, desc="scoring runs", unit="run", disable=quiet or not todo):
        dataset = case.dataset_of(run)
        try:
            truth = _ground_truth(dataset.given, dataset.scored)
            found = _predictions(run, dataset, truth, trust=trust)
            matches = score(truth.coco, found).matches
        # whatever the code in a checkpoint raises, the other runs go on
        except Exception as error:
            result.findings.append(
                Finding(
                    Weight.NOT_CHECKED,
                    "score of a run",
                    f"{run.name} could not be scored: {_one_line(error)}.",
                    runs=(run.name,),
                )
            )
            continue
        scored[name].append((dataset.scored, truth, matches))
    for arm, against in case.pairs:
        first, second = scored[against.name], scored[arm.name]
        if not (first and second):
            continue
        if len({truth.digest for _, truth, _ in (*first, *second)}) > 1:
            result.findings.append(_different_images(arm, against))
            continue
        result.of[arm.name, against.name] = _compare(first, second)
    result.of = _corrected(result.of)
    return result


@cache
def _ground_truth(data: str, split: str) -> GroundTruth:
    return read_ground_truth(data, split)


def _predictions(
    run: ExistingRun, dataset: Dataset, truth: GroundTruth, *, trust: bool
) -> list[dict[str, Any]]:
    """Return what a run finds on the images: as a study stored it, or by running its weights."""
    stored = run.folder / PREDICTIONS
    job = run.job or {}
    if stored.is_file() and job.get("scored") == dataset.scored and _same(job, dataset):
        return json.loads(gzip.decompress(stored.read_bytes()))
    if run.task != "detect":
        raise ValueError(f"its task is {run.task}; only detectors are scored")
    checkpoint = run.best if dataset.scored == "test" else run.last
    if checkpoint is None:
        raise ValueError("it has no readable weights")
    num_classes = checkpoint.config.get("nc")
    if num_classes != dataset.num_classes:
        raise ValueError(
            f"it was trained for {num_classes} classes, and {dataset.given} has "
            f"{dataset.num_classes}"
        )
    refuse_foreign(checkpoint, trust=trust)
    # ultralytics takes seconds to import
    from mlla.yolo import YOLO

    size = run.arguments.get("imgsz", 640)
    return predict(
        YOLO(checkpoint.file), truth.images, imgsz=max(size) if isinstance(size, list) else size
    )


def _same(job: Mapping[str, Any], dataset: Dataset) -> bool:
    return Path(str(job.get("data"))).resolve() == Path(dataset.given).resolve()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def _different_images(arm: RunGroup, against: RunGroup) -> Finding:
    return Finding(
        Weight.NOT_CHECKED,
        "interval of the difference",
        f"{arm.name} and {against.name} name datasets whose images to score on differ.",
        remedy="Name one dataset for all: mlla audit RUNS_DIR data=FILE.",
    )


def _compare(
    first: Sequence[tuple[str, GroundTruth, Matches]],
    second: Sequence[tuple[str, GroundTruth, Matches]],
) -> Rescored:
    split, truth, _ = first[0]
    copies = draw_images(len(truth.images), NUM_RESAMPLES)
    full, resampled = [], []
    for arm in (first, second):
        columns = list(_scores([matches for _, _, matches in arm], copies))
        full.append(np.array([whole for whole, _ in columns]))
        resampled.append(np.stack([parts for _, parts in columns], axis=1))
    testable = min(len(first), len(second)) > 1
    return Rescored(
        split,
        "best" if split == "test" else "last",
        len(truth.images),
        truth.digest,
        tuple(full[1].tolist()),
        tuple(full[0].tolist()),
        difference(*full, *resampled) if testable else None,
        permutation_p_value(*full) if testable else None,
        Verdict.TOO_LITTLE_DATA,
        None,
    )


def _corrected(found: Mapping[tuple[str, str], Rescored]) -> dict[tuple[str, str], Rescored]:
    """Judge all claims together, corrected for their number."""
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
                num_images=one.num_images,
                margin=MARGIN,
                num_claims=len(testable),
            ),
        )
    return result


def _scores(runs: Sequence[Matches], copies: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
    everything = np.ones((1, copies.shape[1]), dtype=np.int64)
    for matches in runs:
        whole, parts = (
            mean_average_precision(average_precision(matches, part))
            for part in (everything, copies)
        )
        yield float(whole[0]), parts
