"""The smallest effect of a study is found as often as is said."""

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.statistics.difference import Difference, difference, permutation_p_value
from mlla.study.statistics.power import smallest_effect
from mlla.study.statistics.verdict import Verdict, judge


def study_like(num_runs: int, image_share: float) -> Difference:
    """Return a study whose runs vary by 1 and whose images add a share of that variance."""
    over_seeds = 2 / num_runs
    over_images = image_share * over_seeds
    error = np.sqrt(over_seeds + over_images)
    freedom = 2 * (num_runs - 1) * (1 + image_share) ** 2
    return Difference(0.0, -1.0, 1.0, float(error), freedom, over_images, over_seeds, 10**6)


@pytest.mark.parametrize(
    ("num_runs", "num_claims"),
    [(4, 1), (5, 1), (5, 3), *(pytest.param(8, n, marks=pytest.mark.slow) for n in (1, 2))],
)
@pytest.mark.parametrize("image_share", [0.0, 1.0])
def test_it_is_found_four_times_out_of_five(
    num_runs: int, num_claims: int, image_share: float
) -> None:
    effect = smallest_effect(
        study_like(num_runs, image_share), num_runs=num_runs, num_claims=num_claims
    )
    generator = np.random.default_rng(7)
    found = []
    for _ in range(300):
        first, second = generator.normal(0, 1, (2, num_runs))
        # images shift the second arm beside the first, as their resampling would tell
        shift = np.sqrt(image_share * 2 / num_runs)
        second = second + effect + generator.normal(0, shift)
        draws = generator.standard_normal(100)
        draws = shift * (draws - draws.mean()) / draws.std(ddof=1)
        gap = difference(
            first,
            second,
            np.tile(first, (100, 1)),
            second + draws[:, None],
            num_images=10**6,
        )
        p_value = min(1.0, num_claims * permutation_p_value(first, second))
        verdict = judge(gap, p_value, num_runs=num_runs, margin=1e-6)
        found.append(verdict is Verdict.SUPPORTED)
    # three standard errors of 300 trials, and the error of the search
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_many_runs_need_the_textbook_effect() -> None:
    # 1.960 + 0.842 standard errors, were the variances known
    found = study_like(100, 0.0)
    assert smallest_effect(found, num_runs=100) == pytest.approx(2.80 * np.sqrt(0.02), rel=0.05)


def test_it_grows_with_the_number_of_claims() -> None:
    effects = [smallest_effect(study_like(6, 0.0), num_runs=6, num_claims=n) for n in (1, 2, 4)]
    assert effects == sorted(effects)
    assert effects[0] < effects[2]


def test_four_runs_can_never_show_one_of_two() -> None:
    assert smallest_effect(study_like(4, 1.0), num_runs=4, num_claims=2) == np.inf


def test_one_run_cannot_tell() -> None:
    nan = float("nan")
    alone = Difference(0.1, nan, nan, nan, nan, nan, nan, 100)
    assert np.isnan(smallest_effect(alone, num_runs=1))


def test_it_is_in_the_unit_of_the_scores() -> None:
    found = study_like(5, 0.5)
    scaled = Difference(0, 0, 0, found.standard_error / 100, 1, 1, found.seed_variance / 1e4, 10**6)
    assert smallest_effect(scaled, num_runs=5) == pytest.approx(
        smallest_effect(found, num_runs=5) / 100
    )
