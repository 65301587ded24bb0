"""All that a study found, in one dictionary: what results.json holds and the report shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.answers import CLAIMS, answers, compare_study
from mlla.study.costs.runtimes import refuse_unknown
from mlla.study.costs.study_costs import study_costs
from mlla.study.files import read_json
from mlla.study.planning.arms import Arm
from mlla.study.scoring.curves import read_curves
from mlla.study.scoring.disagreements import boxes_of, disagreements
from mlla.study.scoring.ground_truth import GroundTruth, read_ground_truth
from mlla.study.scoring.scored_runs import ArmRuns, ScoredRun, read_runs


def collect(out: str | Path, *, runtimes: Sequence[str] = ("torch",)) -> dict[str, Any]:
    """Score, compare and price the runs of a study, as far as they are finished.

    Args:
        out: Folder of the study.
        runtimes: Where to measure the latency: "torch", "onnxruntime", "openvino".

    Returns:
        The content of results.json: numbers that JSON can hold, with None for what there is not.

    Raises:
        FileNotFoundError: If there is no study in the folder.
        ValueError: If no run is finished, a file of the study is not as it was left, or a runtime
            is unknown.
    """
    refuse_unknown(runtimes)
    out = Path(out)
    plan = read_json(out / "study.json")
    scored = plan["data"]["scored"]
    truth = read_ground_truth(plan["data"]["study_yaml"], scored)
    arms = plan["arms"]
    runs = {arm["name"]: read_runs(out, Arm.from_dict(arm), plan["seeds"], truth) for arm in arms}
    if not any(of_arm.finished for of_arm in runs.values()):
        raise ValueError(f"no run of the study {out} is finished, so there is nothing to compare")
    found = compare_study(arms, runs, plan["margin"])
    baseline = arms[0]["name"]
    finished = {name: list(of_arm.finished.values()) for name, of_arm in runs.items()}
    costs = study_costs(out, plan, finished, runtimes)
    content = {
        "format": 1,
        "title": _title(arms, plan),
        "created": plan["created"],
        "data": plan["data"],
        "ground_truth_sha256": truth.digest,
        "scored": scored,
        "checkpoint": plan["checkpoint"],
        "settings": plan["settings"],
        "pretrained": plan["pretrained"],
        "seeds": plan["seeds"],
        # seeds that were added after results had been seen
        "extensions": plan["extensions"],
        "baseline": baseline,
        "margin": plan["margin"],
        "arms": [_arm(out, arm, runs[arm["name"]], costs[arm["name"]]) for arm in arms],
        "comparisons": answers(plan, found, costs, len(truth.images)),
        "guards": plan["guards"],
        "command": plan["command"],
        "versions": plan["versions"],
        "disagreements": _disagreements(arms, runs, truth),
    }
    return _without_nan(content)


def _arm(
    out: Path, arm: Mapping[str, Any], runs: ArmRuns, cost: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what there is to say of one arm alone."""
    finished = list(runs.finished.values())
    summaries = [run.score.summary for run in finished]
    return {
        **{key: arm[key] for key in ("name", "kind", "control_of", "model", "block", "at", "gate")},
        "counts": finished[0].outcome.counts if finished else None,
        "runs": [_run(out, run) for run in finished],
        "failures": [{"seed": seed, "error": text} for seed, text in runs.failures.items()],
        "unfinished": runs.unfinished,
        "mean": _over_runs(summaries, np.mean),
        "std": _over_runs(summaries, _spread),
        "cost": cost,
        "curves": read_curves([run.source / "results.csv" for run in finished]),
    }


def _run(out: Path, run: ScoredRun) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "folder": run.folder.relative_to(out).as_posix(),
        "summary": run.score.summary,
        "per_class": run.score.per_class,
        "error_types": run.score.error_types,
        "calibration_error": run.score.calibration_error,
        "train_seconds": run.outcome.train_seconds,
        "peak_memory_bytes": run.outcome.peak_memory_bytes,
    }


def _disagreements(
    arms: Sequence[Mapping[str, Any]], runs: Mapping[str, ArmRuns], truth: GroundTruth
) -> list[dict[str, Any]]:
    """Find the images to show: where each claiming arm and the baseline differ most."""
    baseline = arms[0]["name"]
    names = [category["name"] for category in truth.coco["categories"]]
    entries = []
    for arm in arms[1:]:
        first, second = runs[baseline].finished, runs[arm["name"]].finished
        if arm["kind"] not in CLAIMS or not set(first) & set(second):
            continue
        matches = [{s: run.score.matches for s, run in part.items()} for part in (first, second)]
        for found in disagreements(*matches):
            index, seed = found["index"], found["seed"]
            boxes = {
                "truth": truth.coco["annotations"],
                "baseline": first[seed].predictions,
                "arm": second[seed].predictions,
            }
            entries.append(
                {
                    "arm": arm["name"],
                    "image": str(truth.images[index]),
                    **found,
                    "boxes": {who: boxes_of(of, index, names) for who, of in boxes.items()},
                }
            )
    return entries


def _title(arms: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> str:
    others = ", ".join(arm["name"] for arm in arms if arm["kind"] in CLAIMS)
    data = Path(plan["data"]["yaml"])
    name = data.parent.name if data.stem in ("data", "dataset") else data.stem
    return f"{others} beside {arms[0]['name']} on {name}"


def _over_runs(summaries: Sequence[Mapping[str, float]], how: Any) -> dict[str, float]:
    """Summarise every figure over the runs that have it."""
    keys = summaries[0] if summaries else ()
    columns = {key: [s[key] for s in summaries if not math.isnan(s[key])] for key in keys}
    return {key: float(how(values)) if values else math.nan for key, values in columns.items()}


def _spread(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _without_nan(value: Any) -> Any:
    """Return the same with None in place of what JSON has no number for."""
    if isinstance(value, Mapping):
        return {key: _without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
