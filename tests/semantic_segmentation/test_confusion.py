"""Scores of segmentation against numbers counted by hand and by smp's own functions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.semantic_segmentation import confusion_matrix, scores_of

NAMES = ("sky", "road", "car")


def test_scores_counted_by_hand():
    target = np.array([[0, 0, 0, 1], [1, 1, 255, 255]])
    predicted = np.array([[0, 0, 1, 1], [1, 2, 0, 1]])
    scores = scores_of(confusion_matrix(target, predicted, 3), NAMES)
    # sky: 2 of 3 found, nothing else; road: 2 found, 1 missed, 1 wrong; car: 1 wrong
    assert scores.iou == pytest.approx((2 / 3, 2 / 4, 0))
    assert scores.accuracy[:2] == pytest.approx((2 / 3, 2 / 3))
    assert math.isnan(scores.accuracy[2])
    assert scores.mean_iou == pytest.approx((2 / 3 + 2 / 4) / 3)
    assert scores.mean_accuracy == pytest.approx(2 / 3)
    assert scores.pixel_accuracy == pytest.approx(4 / 6)
    assert scores.pixels == (3, 3, 0)
    assert "car" in scores.table()


@given(st.integers(0, 2**32 - 1))
def test_iou_is_that_of_segmentation_models_pytorch(seed):
    smp = pytest.importorskip("segmentation_models_pytorch")
    rng = np.random.default_rng(seed)
    target, predicted = rng.integers(0, 3, (2, 5, 7))
    ours = scores_of(confusion_matrix(target, predicted, 3), NAMES)
    counts = smp.metrics.get_stats(
        torch.from_numpy(predicted), torch.from_numpy(target), mode="multiclass", num_classes=3
    )
    sums = [count.sum(dim=0).double() for count in counts[:3]]
    theirs = (sums[0] / (sums[0] + sums[1] + sums[2])).tolist()
    assert ours.iou == pytest.approx(theirs, nan_ok=True)


@given(st.integers(0, 2**32 - 1))
def test_matrices_of_parts_add_up_to_that_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    target, predicted = rng.integers(0, 4, (2, 9, 4))
    parts = sum(confusion_matrix(target[r], predicted[r], 4) for r in (slice(3), slice(3, 9)))
    assert np.array_equal(parts, confusion_matrix(target, predicted, 4))


def test_what_cannot_be_counted_is_named():
    with pytest.raises(ValueError, match=r"target is \(2,\) and predicted \(3,\)"):
        confusion_matrix(np.zeros(2, int), np.zeros(3, int), 2)
    with pytest.raises(ValueError, match="target has classes from 0 to 7, but there are 2"):
        confusion_matrix(np.array([0, 7]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="every pixel of every mask was ignored"):
        scores_of(confusion_matrix(np.full(3, 255), np.zeros(3, int), 2), ("a", "b"))
    with pytest.raises(ValueError, match="there are 3 class names"):
        scores_of(np.ones((2, 2)), NAMES)
