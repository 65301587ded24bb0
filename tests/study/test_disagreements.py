"""Images where two arms differ, counted by hand."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.scoring.disagreements import boxes_of, disagreements, objects_found
from mlla.study.scoring.matches import Matches

NUM_IMAGES = 4


def run(*hits: tuple[int, float], ignored: int | None = None) -> Matches:
    """Return a run that hits objects in these images with these scores, at IoU 0.5 alone."""
    image = np.array([image for image, _ in hits], dtype=np.int64)
    score = np.array([score for _, score in hits])
    hit = np.array([[True] * len(hits), [False] * len(hits)], dtype=bool)
    skip = np.zeros_like(hit)
    if ignored is not None:
        skip[:, ignored] = True
    objects = np.full((1, NUM_IMAGES), 2)
    return Matches(np.array([0, len(hits)]), image, score, hit, skip, objects)


def test_objects_are_counted_where_they_are_found_with_confidence() -> None:
    found = objects_found(run((0, 0.9), (0, 0.5), (1, 0.24), (3, 0.3), ignored=1))
    assert found.tolist() == [1, 0, 0, 1]


def test_the_largest_gains_and_losses_come_first() -> None:
    baseline = {0: run((1, 0.9), (2, 0.9), (2, 0.8)), 1: run((1, 0.9), (2, 0.9))}
    arm = {0: run((0, 0.9), (1, 0.9)), 1: run((0, 0.9), (0, 0.8), (1, 0.9)), 5: run()}
    found = disagreements(baseline, arm)
    assert [(one["index"], one["gain"]) for one in found] == [(0, 1.5), (2, -1.5)]
    assert [one["objects"] for one in found] == [2, 2]
    # two runs are as near to the mean: the first is shown
    assert [one["seed"] for one in found] == [0, 0]
    assert disagreements(baseline, arm, num_images=1) == found[:1]


def test_the_run_nearest_to_the_mean_is_shown() -> None:
    baseline = {seed: run() for seed in range(3)}
    arm = {0: run((0, 0.9), (0, 0.8)), 1: run((0, 0.9)), 2: run()}
    assert disagreements(baseline, arm)[0]["seed"] == 1


def test_equal_runs_disagree_nowhere() -> None:
    assert disagreements({0: run((0, 0.9))}, {0: run((0, 0.5))}) == []


def test_boxes_to_draw() -> None:
    entries = [
        {"image_id": 1, "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.1},
        {"image_id": 2, "category_id": 0, "bbox": [5, 6, 7, 8], "score": 0.9},
    ]
    assert boxes_of(entries, 1, ["pit", "scratch"]) == [
        {"name": "pit", "bbox": [1, 2, 3, 4], "score": 0.5}
    ]
    truth = [{"image_id": 2, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1}]
    assert boxes_of(truth, 2, ["pit", "scratch"]) == [{"name": "scratch", "bbox": [0, 0, 1, 1]}]
