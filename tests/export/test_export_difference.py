"""The relative error that decides whether an export is right."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlla.export.difference import largest_difference

SHAPE = (1, 3, 64, 64)
CHANNELS = SimpleNamespace(num_classes=3, ranked=False)
RANKED = SimpleNamespace(num_classes=3, ranked=True)


def detections(places: int = 20) -> np.ndarray:
    generator = np.random.default_rng(0)
    boxes, scores = generator.uniform(0, 640, (1, 4, places)), generator.random((1, 3, places))
    return np.concatenate([boxes, scores], 1).astype(np.float32)


def ranked(rows: int = 30) -> np.ndarray:
    generator = np.random.default_rng(1)
    scores = np.sort(generator.random(rows))[::-1]
    labels = generator.integers(0, 3, rows)
    boxes = generator.uniform(0, 640, (rows, 4))
    return np.column_stack([boxes, scores, labels])[None].astype(np.float32)


def error(expected: np.ndarray, found: np.ndarray, layout: object = None) -> float:
    return largest_difference([expected], [found], SHAPE, layout).error


@pytest.mark.parametrize(
    ("expected", "layout"), [(detections(), None), (detections(), CHANNELS), (ranked(), RANKED)]
)
def test_equal_outputs_have_no_error(expected: np.ndarray, layout: object) -> None:
    assert error(expected, expected.copy(), layout) == 0


def test_edges_of_boxes_do_not_hide_the_error_of_a_score() -> None:
    expected = detections()
    found = expected.copy()
    found[0, 5, 3] += 0.01
    assert error(expected, found) < 1e-4
    by_quantity = largest_difference([expected], [found], SHAPE, CHANNELS)
    assert by_quantity.error == pytest.approx(0.01 / expected[0, 4:].max(), rel=1e-4)
    assert by_quantity.quantity == "scores"


def test_scores_of_an_untrained_network_are_compared_too() -> None:
    expected = detections()
    expected[:, 4:] *= 1e-5
    found = expected.copy()
    found[:, 4:] *= 2
    assert error(expected, found, CHANNELS) > 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("expected", "layout"), [(detections(), CHANNELS), (ranked(), RANKED)])
def test_numbers_that_are_not_finite_are_wrong(
    expected: np.ndarray, layout: object, value: float
) -> None:
    found = expected.copy()
    found[0, 2, 4] = value
    assert error(expected, found, layout) == np.inf


def test_another_shape_is_wrong() -> None:
    difference = largest_difference([detections(20)], [detections(21)], SHAPE, CHANNELS)
    assert difference.error == np.inf
    assert "(1, 7, 21)" in difference.quantity


def test_another_number_of_outputs_is_wrong() -> None:
    output = detections()
    assert largest_difference([output, output], [output], SHAPE).error == np.inf


def test_boxes_of_nearly_the_same_score_may_change_places() -> None:
    expected = ranked()
    expected[0, 4, 4] = expected[0, 5, 4] * (1 + 1e-6)
    found = expected.copy()
    found[0, [4, 5]] = found[0, [5, 4]]
    assert error(expected, found, RANKED) < 1e-5


@pytest.mark.parametrize(("row", "column"), [(7, 0), (7, 3), (7, 4), (7, 5), (0, 2)])
def test_a_wrong_number_in_a_ranked_row_is_found(row: int, column: int) -> None:
    expected = ranked()
    found = expected.copy()
    found[0, row, column] += 5
    assert error(expected, found, RANKED) > 1e-3


def test_a_row_given_twice_in_place_of_another_is_found() -> None:
    expected = ranked()
    found = expected.copy()
    found[0, 8] = found[0, 7]
    assert error(expected, found, RANKED) > 1e-3


def test_the_last_of_two_that_tie_may_be_the_other() -> None:
    expected = ranked()
    found = expected.copy()
    expected[0, -1, 4] = found[0, -1, 4] = expected[0, -2, 4] - 0.01
    found[0, -1, :4] += 100
    assert error(expected, found, RANKED) == 0
