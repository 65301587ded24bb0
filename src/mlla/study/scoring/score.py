"""Scores of predictions by an outside evaluator, hotcoco, in the protocol of COCO."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.study.scoring.matches import Matches, matches_from_evaluation

# no area limit, and the hundred best detections of an image, as AP is defined
_EVERY_AREA, _MAX_DETECTIONS = [0.0, 1e10], 100


@dataclass(frozen=True)
class Score:
    """What the evaluator found.

    Attributes:
        summary: Its twelve figures by name: AP, AP50, AP75, APs, APm, APl, AR1, ...; NaN where
            there is no object of that size.
        per_class: AP of each class by name; NaN for a class without objects.
        error_types: AP lost to each type of error of TIDE.
        calibration_error: Expected calibration error of the scores at IoU 0.5.
        matches: The matches, from which AP on resampled images follows.
    """

    summary: dict[str, float]
    per_class: dict[str, float]
    error_types: dict[str, float]
    calibration_error: float
    matches: Matches


def score(ground_truth: dict[str, Any], predictions: list[dict[str, Any]]) -> Score:
    """Score the predictions of one run.

    Args:
        ground_truth: Images, categories and annotations in the format of COCO.
        predictions: image_id, category_id, bbox (x, y, width, height in pixels) and score of each
            detection.

    Returns:
        The scores.

    Raises:
        ValueError: If there is no object to find, or a prediction is of an unknown image or class.
    """
    from hotcoco import COCO, COCOeval

    images = sorted(image["id"] for image in ground_truth["images"])
    classes = sorted(category["id"] for category in ground_truth["categories"])
    if not ground_truth["annotations"]:
        raise ValueError("ground_truth has no annotation, so there is nothing to score")
    for key, known in (("image_id", set(images)), ("category_id", set(classes))):
        unknown = {prediction[key] for prediction in predictions} - known
        if unknown:
            raise ValueError(
                f"predictions name {key} {sorted(unknown)[:5]}, which the ground truth does not "
                "have; score them against the images they were made on"
            )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ground_truth.json"
        file.write_text(json.dumps(ground_truth), encoding="utf-8")
        truth = COCO(str(file))
    evaluation = COCOeval(truth, truth.load_res(predictions), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    # summarize() without printing
    evaluation.summary_lines()
    results = evaluation.results(per_class=True)
    entries = [
        entry
        for entry in evaluation.eval_imgs
        if entry and entry["aRng"] == _EVERY_AREA and entry["maxDet"] == _MAX_DETECTIONS
    ]
    matches = matches_from_evaluation(
        entries,
        image_ids=images,
        class_ids=classes,
        num_thresholds=len(evaluation.params.iou_thrs),
    )
    return Score(
        {name: _or_nan(value) for name, value in results["metrics"].items()},
        {
            category["name"]: _or_nan(results["per_class"].get(category["name"], -1))
            for category in sorted(ground_truth["categories"], key=lambda c: c["id"])
        },
        {name: float(lost) for name, lost in evaluation.tide_errors()["delta_ap"].items()},
        float(evaluation.calibration()["ece"]),
        matches,
    )


def _or_nan(value: float) -> float:
    # the evaluator says -1 where there is no object to find
    return float(value) if value >= 0 else float("nan")
