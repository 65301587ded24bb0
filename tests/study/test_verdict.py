"""When a gain counts as shown, and what would show it."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.statistics.difference import Difference
from mlla.study.statistics.verdict import Needed, Verdict, judge, min_runs, needed


def interval(low: float, high: float) -> Difference:
    return Difference((low + high) / 2, low, high, (high - low) / 4, 6.0, 1e-5, 1e-5, 100)


@pytest.mark.parametrize(
    ("found", "p_value", "num_runs", "expected"),
    [
        (interval(0.01, 0.03), 0.01, 5, Verdict.SUPPORTED),
        (interval(-0.03, -0.01), 0.01, 5, Verdict.HARMFUL),
        # the interval says yes, the permutation test does not
        (interval(0.01, 0.03), 0.08, 5, Verdict.TOO_LITTLE_DATA),
        # the runs differ, but other images might say otherwise
        (interval(-0.01, 0.03), 0.01, 5, Verdict.TOO_LITTLE_DATA),
        (interval(-0.02, 0.004), 0.5, 5, Verdict.NOT_SUPPORTED),
        (interval(0.01, 0.03), 0.001, 3, Verdict.TOO_LITTLE_DATA),
        (interval(-0.02, 0.004), 0.5, 3, Verdict.TOO_LITTLE_DATA),
    ],
)
def test_verdicts(found: Difference, p_value: float, num_runs: int, expected: Verdict) -> None:
    assert judge(found, p_value, num_runs=num_runs, margin=0.005) is expected


def test_a_margin_must_be_positive() -> None:
    with pytest.raises(ValueError, match="margin=-1"):
        judge(interval(0, 1), 0.5, num_runs=5, margin=-1)


def test_more_runs_help_where_seeds_vary_and_more_images_where_images_do() -> None:
    seeds = Difference(0.01, -0.02, 0.04, 0.0141, 6.0, 0.0, 2e-4, 100)
    found = needed(seeds, num_runs=4, margin=0.005)
    # (1.96 + 0.84)^2 2e-4 4 / n = 1e-4, so 63, and a little more with Student's quantiles
    assert found.runs is not None
    assert 63 <= found.runs <= 66
    assert found.images is None
    images = Difference(0.01, -0.02, 0.04, 0.0141, np.inf, 2e-4, 0.0, 100)
    found = needed(images, num_runs=4, margin=0.005)
    assert found.runs is None
    # 2.8016^2 2e-4 100 / n = 1e-4
    assert found.images == pytest.approx(1570, rel=0.03)


def test_a_tiny_difference_is_not_hunted_below_what_matters() -> None:
    found = Difference(1e-5, -0.02, 0.02, 0.01, 6.0, 0.0, 1e-4, 100)
    assert needed(found, num_runs=4, margin=0.005).runs is not None


@pytest.mark.parametrize(("num_claims", "runs"), [(1, 4), (2, 5), (6, 5), (7, 6), (23, 6)])
def test_more_claims_need_more_runs(num_claims: int, runs: int) -> None:
    # 2 of 70, 252 and 924 arrangements of 4, 5 and 6 runs an arm are the most extreme
    assert min_runs(num_claims) == runs


def test_what_is_needed_is_more_than_there_is() -> None:
    # so clear that a study of this size should have decided, and did not
    clear = Difference(0.1, 0.06, 0.14, 0.015, 8.0, 1e-4, 1e-4, 100)
    assert needed(clear, num_runs=5, margin=0.005) == Needed(6, 101)


def test_images_do_not_make_up_for_runs() -> None:
    clear = Difference(0.1, 0.06, 0.14, 0.015, 6.0, 1e-4, 1e-4, 100)
    found = needed(clear, num_runs=4, margin=0.005, num_claims=3)
    assert found == Needed(5, None)


def test_one_run_says_nothing_about_what_is_needed() -> None:
    nan = float("nan")
    alone = Difference(0.1, nan, nan, nan, nan, nan, nan, 100)
    assert needed(alone, num_runs=1, margin=0.005) == Needed(None, None)


def test_several_claims_need_more_runs_where_seeds_vary() -> None:
    seeds = Difference(0.01, -0.02, 0.04, 0.0141, 6.0, 0.0, 2e-4, 100)
    one, four = (needed(seeds, num_runs=4, margin=0.005, num_claims=n).runs for n in (1, 4))
    assert one is not None
    assert four is not None
    # (2.50 + 0.84)^2 / (1.96 + 0.84)^2
    assert four / one == pytest.approx(1.42, rel=0.05)
