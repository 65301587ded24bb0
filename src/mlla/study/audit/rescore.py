"""The weights of existing runs, scored anew on images that did not choose them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mlla.study.audit.case import Case
from mlla.study.audit.datasets import Dataset, num_learned
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.finding import Finding, Weight
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.rescored import Rescored, compare_scored, corrected
from mlla.study.audit.trust import refuse_foreign
from mlla.study.runs.run_folder import PREDICTIONS
from mlla.study.scoring.ground_truth import GroundTruth, read_ground_truth
from mlla.study.scoring.matches import Matches
from mlla.study.scoring.predictions import predict
from mlla.study.scoring.score import score


@dataclass
class Rescoring:
    """Scores of all claims that could be scored.

    Attributes:
        of: Result by the names of arm and other arm.
        findings: Why something could not be scored.
    """

    of: dict[tuple[str, str], Rescored] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _Scored:
    """A run on some images."""

    truth: GroundTruth
    matches: Matches


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
    truths: dict[tuple[str, str], GroundTruth] = {}
    scored: dict[str, list[_Scored]] = {name: [] for name in groups}
    for name, run in tqdm(todo, desc="scoring runs", unit="run", disable=quiet or not todo):
        dataset = case.dataset_of(run)
        try:
            place = (dataset.given, dataset.scored)
            truth = truths.get(place) or truths.setdefault(place, read_ground_truth(*place))
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
        scored[name].append(_Scored(truth, matches))
    for arm, against in case.pairs:
        first, second = scored[arm.name], scored[against.name]
        if not (first and second):
            continue
        if len({one.truth.digest for one in (*first, *second)}) > 1:
            result.findings.append(_different_images(arm, against))
            continue
        result.of[arm.name, against.name] = compare_scored(
            [one.matches for one in first],
            [one.matches for one in second],
            first[0].truth,
            case.dataset_of(arm.runs[0]).scored,
        )
    result.of = corrected(result.of)
    return result


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
    if shared := num_learned(str(run.written_arguments.get("data")), dataset.given, truth.images):
        raise ValueError(
            f"it was trained on {shared} of the {len(truth.images)} images to score on"
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
