"""The statistics against values worked out by hand, their laws, and studies of known truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy")
from mlla.study.scoring.average_precision import (
    average_precision,
    average_precision_reference,
)
from mlla.study.statistics.difference import (
    Difference,
    difference,
    draw_images,
    holm,
    is_not_worse,
    permutation_p_value,
)
from mlla.study.statistics.simulated import World, draw_run, draw_test_set


def test_compiled_and_plain_average_precision_agree() -> None:
    generator = np.random.default_rng(0)
    images = draw_test_set(World(), 40, generator)
    matches = draw_run(World(), images, 0.2, generator)
    copies = draw_images(40, 20)
    np.testing.assert_allclose(
        average_precision(matches, copies),
        average_precision_reference(matches, copies),
        atol=1e-12,
    )


def test_average_precision_by_hand() -> None:
    # one class, scores falling: hit, miss, hit; two objects. Precision 1 up to recall 0.5, then 2/3
    from mlla.study.scoring.matches import Matches

    matches = Matches(
        np.array([0, 3]),
        np.array([0, 0, 1]),
        np.array([0.9, 0.8, 0.7]),
        np.array([[True, False, True]]),
        np.zeros((1, 3), dtype=bool),
        np.array([[1, 1]]),
    )
    table = average_precision(matches, np.array([[1, 1], [0, 1], [2, 0]]))
    # 51 recall levels up to 0.5 and 50 above
    expected = [(51 + 50 * 2 / 3) / 101, 1.0, 1.0]
    np.testing.assert_allclose(table[:, 0, 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("copies", "message"), [(np.ones((2, 3), int), "shape"), (np.ones((2, 40)), "float")]
)
def test_copies_must_fit(copies: np.ndarray, message: str) -> None:
    generator = np.random.default_rng(0)
    matches = draw_run(World(), draw_test_set(World(), 40, generator), 0, generator)
    with pytest.raises(ValueError, match=message):
        average_precision(matches, copies)


def test_resamples_hold_as_many_images() -> None:
    assert (draw_images(30, 50).sum(axis=1) == 30).all()


def test_without_variation_over_images_the_interval_is_that_of_welch() -> None:
    from scipy import stats

    generator = np.random.default_rng(1)
    first, second = generator.normal(0.3, 0.01, 5), generator.normal(0.31, 0.02, 4)
    found = difference(
        first, second, np.tile(first, (9, 1)), np.tile(second, (9, 1)), num_images=20
    )
    welch = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high), abs=1e-12)


def test_identical_arms_differ_by_nothing() -> None:
    scores = np.array([0.3, 0.31, 0.32, 0.33])
    resampled = scores + np.random.default_rng(0).normal(0, 0.01, (50, 1))
    found = difference(scores, scores, resampled, resampled, num_images=20)
    assert found.estimate == 0
    assert found.low == -found.high
    # images shift both arms alike
    assert found.image_variance == pytest.approx(0, abs=1e-20)


@given(st.permutations(range(5)), st.floats(-0.2, 0.2))
def test_order_of_seeds_and_a_common_shift_change_nothing(order: list[int], shift: float) -> None:
    generator = np.random.default_rng(3)
    first, second = generator.normal(0.3, 0.01, (2, 5))
    resampled = [scores + generator.normal(0, 0.01, (40, 5)) for scores in (first, second)]
    found = difference(first, second, *resampled, num_images=20)
    moved = difference(
        first[order] + shift,
        second + shift,
        resampled[0][:, order] + shift,
        resampled[1] + shift,
        num_images=20,
    )
    assert moved.low == pytest.approx(found.low, abs=1e-9)
    assert moved.high == pytest.approx(found.high, abs=1e-9)


def test_exchanged_arms_mirror_the_interval() -> None:
    generator = np.random.default_rng(4)
    scores, resampled = generator.normal(0.3, 0.01, (2, 4)), generator.normal(0.3, 0.01, (2, 60, 4))
    there = difference(*scores, *resampled, num_images=20)
    back = difference(*scores[::-1], *resampled[::-1], num_images=20)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))


def test_without_variation_over_seeds_the_interval_is_that_of_a_mean_over_images() -> None:
    from scipy import stats

    # a score that is a mean over images, the same for all seeds of an arm
    gains = np.random.default_rng(5).normal(0.02, 0.1, 12)
    copies = draw_images(12, 20_000)
    first, second = np.zeros(4), np.full(4, gains.mean())
    resampled = np.repeat((copies @ gains / 12)[:, None], 4, axis=1)
    found = difference(first, second, np.zeros_like(resampled), resampled, num_images=12)
    student = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=2e-3)
    assert found.degrees_of_freedom == pytest.approx(11)


def test_one_image_says_nothing_about_others() -> None:
    with pytest.raises(ValueError, match=r"num_images=1, .* score more images"):
        difference(np.ones(4), np.ones(4), np.ones((5, 4)), np.ones((5, 4)), num_images=1)


def test_one_seed_is_no_study() -> None:
    with pytest.raises(ValueError, match="first has 1 run"):
        difference(np.ones(1), np.ones(4), np.ones((5, 1)), np.ones((5, 4)), num_images=20)


def test_resamples_of_other_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="second_resampled has shape"):
        difference(np.ones(4), np.ones(4), np.ones((5, 4)), np.ones((6, 4)), num_images=20)


def test_exact_permutation_by_hand() -> None:
    # of the 20 ways to choose 3 of 6, only this one and its mirror separate so far
    assert permutation_p_value(np.array([1.0, 2, 3]), np.array([4.0, 5, 6])) == pytest.approx(0.1)
    low, high = np.arange(4.0), np.arange(4.0) + 10
    assert permutation_p_value(low, high) == pytest.approx(2 / 70)
    assert permutation_p_value(low, low) == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]


def found_with(estimate: float, error: float) -> Difference:
    return Difference(estimate, 0, 0, error, 1e9, 0, 0, 20)


def test_not_worse_needs_the_whole_interval_above_the_margin() -> None:
    assert is_not_worse(found_with(0.0, 0.1), 0.2)
    assert not is_not_worse(found_with(0.0, 0.1), 0.16)
    assert not is_not_worse(found_with(0.5, 1.0), 1.0)
    with pytest.raises(ValueError, match="margin=0"):
        is_not_worse(found_with(0.0, 0.1), 0)
