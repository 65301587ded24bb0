"""Detections in the format of COCO, and their scores by an outside evaluator, hotcoco."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mlla.instance_segmentation.run_lengths import encode_masks

# a pixel belongs to an object from this probability on
_MASK_THRESHOLD = 0.5
_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
#: What is scored, by the names that the evaluator has for it.
KINDS = {"mask": "segm", "box": "bbox"}


def coco_detections(
    found: Mapping[str, Tensor], image_number: int, category_numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """Turn what a detector found on one image into entries of a COCO results file.

    Args:
        found: boxes (N, 4) as left, top, right, bottom in pixels, labels from 1, scores, and
            masks (N, 1, H, W) as probabilities.
        image_number: Id of the image.
        category_numbers: Ids of the classes, in the order of the labels.

    Returns:
        One entry for each detection.
    """
    boxes = found["boxes"].cpu().tolist()
    labels, scores = found["labels"].cpu().tolist(), found["scores"].cpu().tolist()
    masks = (found["masks"][:, 0] >= _MASK_THRESHOLD).cpu().numpy()
    return [
        {
            "image_id": image_number,
            "category_id": category_numbers[label - 1],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "segmentation": runs,
        }
        for (left, top, right, bottom), label, score, runs in zip(
            boxes, labels, scores, encode_masks(masks), strict=True
        )
    ]


def coco_scores(
    truth: str | Path, detections: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Score the detections of a split in the protocol of COCO.

    Args:
        truth: The JSON file of the split.
        detections: As `coco_detections` returns them, of all images of the split.

    Returns:
        Figures such as mask_AP and box_AP50, between 0 and 1, NaN where there is no object of
        that size; and for mask and box the AP of each class by name.
    """
    from hotcoco import COCO, COCOeval

    annotations = COCO(str(truth))
    figures: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    for kind, evaluator_name in KINDS.items():
        key = "segmentation" if kind == "mask" else "bbox"
        # with both keys the evaluator would sort masks into sizes by the areas of boxes
        kept = ("image_id", "category_id", "score", key)
        entries = [{name: entry[name] for name in kept} for entry in detections]
        evaluation = COCOeval(annotations, annotations.load_res(entries), evaluator_name)
        evaluation.evaluate()
        evaluation.accumulate()
        # summarize() without printing
        evaluation.summary_lines()
        results = evaluation.results(per_class=True)
        figures |= {f"{kind}_{name}": _or_nan(results["metrics"][name]) for name in _FIGURES}
        per_class[kind] = {name: _or_nan(value) for name, value in results["per_class"].items()}
    return figures, per_class


def _or_nan(value: float) -> float:
    # the evaluator says -1 where there is no object to find
    return float(value) if value >= 0 else float("nan")
