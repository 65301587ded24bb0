from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlla.data.report import Kind
from mlla.data.shapes import (
    BadShapeError,
    Shape,
    centre_size_from_edges,
    clip_shape,
    edges_from_centre_size,
    edges_from_corner_size,
    edges_from_voc,
    finite_numbers,
    turn_edges,
)

coordinate = st.floats(-2, 3, allow_nan=False)


def box(left, top, right, bottom):
    return Shape("object 1", "dog", (left, top, right, bottom))


def test_voc_counts_pixels_from_one_and_both_corners_belong_to_the_box():
    # the upper left pixel of an image spans 0..1; pixels 1 to 100 span all of a 100 pixel image
    assert edges_from_voc(1, 1, 2, 3) == (0, 0, 2, 3)
    assert edges_from_voc(1, 1, 100, 50) == (0, 0, 100, 50)


@pytest.mark.parametrize("corners", [(181, 329, 181, 329), (5, 5, 5, 9), (9, 5, 4, 9)])
def test_voc_corners_that_enclose_nothing_are_refused(corners):
    with pytest.raises(BadShapeError, match="enclose nothing") as error:
        edges_from_voc(*corners)
    assert error.value.kind is Kind.ZERO_AREA


def test_coco_boxes_are_corner_and_size():
    assert edges_from_corner_size(10.5, 20, 30, 5.25) == (10.5, 20, 40.5, 25.25)


def test_yolo_boxes_are_centre_and_size():
    assert edges_from_centre_size(0.5, 0.25, 0.5, 0.25) == (0.25, 0.125, 0.75, 0.375)


@given(st.tuples(coordinate, coordinate, coordinate, coordinate))
def test_centre_and_size_bring_the_edges_back(edges):
    there_and_back = edges_from_centre_size(*centre_size_from_edges(edges))
    assert there_and_back == pytest.approx(edges, abs=1e-12)


@given(st.lists(coordinate, min_size=4, max_size=12).filter(lambda n: len(n) in (4, 6, 8, 10, 12)))
def test_what_clipping_leaves_lies_inside_and_is_not_empty(numbers):
    try:
        clipped, was_cut = clip_shape(Shape("", "dog", tuple(numbers)))
    except BadShapeError:
        return
    assert all(0 <= number <= 1 for number in clipped.numbers)
    assert was_cut or clipped.numbers == pytest.approx(numbers, abs=1e-5)
    again, was_cut_again = clip_shape(clipped)
    assert again == clipped
    assert not was_cut_again


def test_clipping_by_hand():
    assert clip_shape(box(-0.5, 0.25, 0.5, 1.5)) == (box(0, 0.25, 0.5, 1), True)
    assert clip_shape(box(0.1, 0.2, 0.3, 0.4)) == (box(0.1, 0.2, 0.3, 0.4), False)
    # a six-digit file may overshoot by its rounding
    assert clip_shape(box(0.5, 0, 1.0000004, 1)) == (box(0.5, 0, 1, 1), False)


@pytest.mark.parametrize(
    ("edges", "kind"),
    [
        ((1.0, 0.1, 1.5, 0.4), Kind.FULLY_OUTSIDE),
        ((0.1, -0.4, 0.2, -0.1), Kind.FULLY_OUTSIDE),
        ((0.2, 0.2, 0.2, 0.6), Kind.ZERO_AREA),
        ((0.6, 0.2, 0.2, 0.6), Kind.ZERO_AREA),
    ],
)
def test_boxes_without_a_visible_part_are_refused(edges, kind):
    with pytest.raises(BadShapeError) as error:
        clip_shape(box(*edges))
    assert error.value.kind is kind


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", math.nan])
def test_non_finite_numbers_are_named(value):
    with pytest.raises(BadShapeError, match="not finite") as error:
        finite_numbers(["1", value])
    assert error.value.kind is Kind.NOT_FINITE


@pytest.mark.parametrize("value", ["", "twelve", None, [1], {}])
def test_values_that_are_no_numbers_are_named(value):
    with pytest.raises(BadShapeError, match="is not a number") as error:
        finite_numbers([value])
    assert error.value.kind is Kind.BAD_OBJECT


# an image stored 100 wide and 50 high with a box in its upper left corner, 10 wide and 20 high;
# orientations as in the EXIF standard: 5 transposed, 6 to be turned right, 7 transversed, 8 left
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (5, (0, 0, 20, 10)),
        (6, (30, 0, 50, 10)),
        (7, (30, 90, 50, 100)),
        (8, (0, 90, 20, 100)),
    ],
)
def test_boxes_turn_with_the_image(orientation, expected):
    assert turn_edges((0, 0, 10, 20), orientation, 100, 50) == expected
