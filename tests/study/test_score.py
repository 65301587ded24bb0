"""Scores against pycocotools, and the matches that resampling works on."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest

pytest.importorskip("hotcoco")
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mlla.study.scoring.average_precision import (
    average_precision,
    average_precision_reference,
    mean_average_precision,
)
from mlla.study.scoring.score import score

CLASSES = ("scratch", "pit", "never there")


def drawn_set(seed: int, num_images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Draw objects, and detections near some of them and anywhere else, with equal scores too."""
    generator = np.random.default_rng(seed)
    annotations, predictions = [], []
    for image in range(1, num_images + 1):
        for _ in range(generator.integers(0, 6)):
            x, y, width, height = generator.uniform([0, 0, 5, 5], [300, 300, 150, 150])
            category = int(generator.integers(2))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": int(generator.random() < 0.1),
                }
            )
            for _ in range(generator.integers(0, 3)):
                box = np.array([x, y, width, height]) * generator.normal(1, 0.1, 4)
                predictions.append((image, category, box))
        for _ in range(generator.integers(0, 4)):
            box = generator.uniform([0, 0, 5, 5], [300, 300, 150, 150])
            predictions.append((image, int(generator.integers(2)), box))
    truth = {
        "images": [{"id": i + 1, "width": 400, "height": 400} for i in range(num_images)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES)],
        "annotations": annotations,
    }
    return truth, [
        {
            "image_id": image,
            "category_id": category,
            "bbox": box.tolist(),
            "score": round(float(generator.random()), 1),
        }
        for image, category, box in predictions
    ]


def official(truth: dict[str, Any], predictions: list[dict[str, Any]]) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = truth
        dataset.createIndex()
        evaluation = COCOeval(dataset, dataset.loadRes(predictions), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("seed", range(5))
def test_summary_is_that_of_pycocotools(seed: int) -> None:
    truth, predictions = drawn_set(seed)
    found = score(truth, predictions)
    expected = official(truth, predictions).stats
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl"]
    names += ["AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    ours = [found.summary[name] for name in names]
    np.testing.assert_allclose(ours, np.where(expected < 0, np.nan, expected), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_matches_give_the_same_average_precision(seed: int) -> None:
    truth, predictions = drawn_set(seed)
    found = score(truth, predictions)
    everything = np.ones((1, len(truth["images"])), dtype=np.int64)
    for form in (average_precision, average_precision_reference):
        table = form(found.matches, everything)
        assert mean_average_precision(table)[0] == pytest.approx(found.summary["AP"], abs=1e-12)
        np.testing.assert_allclose(
            table[0].mean(axis=1), [found.per_class[name] for name in CLASSES], atol=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
def test_a_resample_is_scored_as_if_its_images_were_copied(seed: int) -> None:
    truth, predictions = drawn_set(seed, num_images=5)
    # no two scores are equal, so that only copies tie
    for number, prediction in enumerate(predictions):
        prediction["score"] = 0.9 * prediction["score"] + 1e-4 * number
    copies = np.array([2, 0, 1, 3, 1])
    new: dict[str, Any] = {**truth, "images": [], "annotations": []}
    copied = []
    for old, times in zip(truth["images"], copies, strict=True):
        for _ in range(times):
            number = len(new["images"]) + 1
            new["images"].append({**old, "id": number})
            for entry in truth["annotations"]:
                if entry["image_id"] == old["id"]:
                    identifier = len(new["annotations"]) + 1
                    new["annotations"].append({**entry, "id": identifier, "image_id": number})
            copied += [{**p, "image_id": number} for p in predictions if p["image_id"] == old["id"]]
    table = average_precision(score(truth, predictions).matches, copies[None])
    expected = official(new, copied).stats[0]
    assert mean_average_precision(table)[0] == pytest.approx(expected, abs=1e-12)


def test_a_class_that_is_nowhere_has_no_score() -> None:
    truth, predictions = drawn_set(0)
    assert np.isnan(score(truth, predictions).per_class["never there"])


def test_no_prediction_scores_zero() -> None:
    truth, _ = drawn_set(0)
    assert score(truth, []).summary["AP"] == 0


def test_a_prediction_of_an_unknown_image_is_an_error() -> None:
    truth, predictions = drawn_set(0)
    predictions[0]["image_id"] = 99
    with pytest.raises(ValueError, match=r"image_id \[99\]"):
        score(truth, predictions)


def test_nothing_to_find_is_an_error() -> None:
    truth, predictions = drawn_set(0)
    with pytest.raises(ValueError, match="no annotation"):
        score({**truth, "annotations": []}, predictions)
