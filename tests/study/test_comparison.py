"""Arms against a baseline, on simulated runs."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.scoring.matches import Matches
from mlla.study.statistics.comparison import Pair, against_baseline, compare_arms
from mlla.study.statistics.simulated import World, draw_run, draw_test_set
from mlla.study.statistics.verdict import Verdict

WORLD = World(seed_spread=0.02)
Runs = dict[str, dict[int, Matches]]


@pytest.fixture(scope="module")
def runs() -> Runs:
    generator = np.random.default_rng(0)
    images = draw_test_set(WORLD, 200, generator)
    return {
        arm: {seed: draw_run(WORLD, images, skill, generator) for seed in range(5)}
        for arm, skill in {"plain": 0.3, "same": 0.3, "better": 0.6, "worse": 0.0}.items()
    }


BASELINE_PAIRS = against_baseline(["plain", "same", "better", "worse"], "plain")


def test_large_effects_are_found_and_none_is_invented(runs: Runs) -> None:
    found = {one.pair.arm: one for one in compare_arms(runs, BASELINE_PAIRS, num_resamples=200)}
    assert list(found) == ["same", "better", "worse"]
    assert found["better"].verdict is Verdict.SUPPORTED
    assert found["worse"].verdict is Verdict.HARMFUL
    assert found["same"].verdict in (Verdict.NOT_SUPPORTED, Verdict.TOO_LITTLE_DATA)
    # 2 of 252 arrangements, three comparisons
    assert found["better"].p_value == pytest.approx(2 / 252)
    assert found["better"].adjusted_p_value == pytest.approx(3 * 2 / 252)
    assert found["better"].means[1] - found["better"].means[0] == pytest.approx(
        found["better"].difference.estimate
    )


def test_controls_do_not_make_the_correction_stricter(runs: Runs) -> None:
    pairs = [Pair("better", "plain"), Pair("worse", "plain", is_claim=False)]
    pairs += [Pair("better", "same", "control")]
    found = compare_arms(runs, pairs, num_resamples=50)
    assert [one.num_claims for one in found] == [1, 1, 1]
    assert all(one.adjusted_p_value == one.p_value for one in found)


def test_each_family_is_corrected_by_itself(runs: Runs) -> None:
    pairs = [*BASELINE_PAIRS, Pair("better", "same", "control")]
    found = compare_arms(runs, pairs, num_resamples=50)
    assert [one.num_claims for one in found] == [3, 3, 3, 1]
    assert found[-1].adjusted_p_value == found[-1].p_value == pytest.approx(2 / 252)


def test_the_same_study_says_the_same_twice(runs: Runs) -> None:
    assert compare_arms(runs, BASELINE_PAIRS, num_resamples=50) == compare_arms(
        runs, BASELINE_PAIRS, num_resamples=50
    )


def test_three_runs_give_figures_and_no_verdict(runs: Runs) -> None:
    few = {arm: {seed: matches[seed] for seed in range(3)} for arm, matches in runs.items()}
    for one in compare_arms(few, BASELINE_PAIRS, num_resamples=50):
        assert one.verdict is Verdict.TOO_LITTLE_DATA
        assert one.p_value >= 0.1


def test_one_run_gives_a_difference_without_interval(runs: Runs) -> None:
    few = {arm: {0: matches[0]} for arm, matches in runs.items()}
    better = compare_arms(few, BASELINE_PAIRS, num_resamples=50)[1]
    assert better.difference.estimate > 0.05
    assert np.isnan([better.difference.low, better.difference.high, better.smallest_effect]).all()
    assert better.verdict is Verdict.TOO_LITTLE_DATA
    assert better.p_value == 1


def test_only_seeds_that_both_arms_have_are_compared(runs: Runs) -> None:
    part = {**runs, "better": {seed: runs["better"][seed] for seed in (0, 2, 3, 4)}}
    found = compare_arms(part, [Pair("better", "plain")], num_resamples=50)[0]
    assert found.seeds == (0, 2, 3, 4)
    same = {arm: {seed: runs[arm][seed] for seed in (0, 2, 3, 4)} for arm in ("plain", "better")}
    assert found == compare_arms(same, [Pair("better", "plain")], num_resamples=50)[0]


def test_arms_without_a_common_seed_cannot_be_compared(runs: Runs) -> None:
    part = {"plain": {0: runs["plain"][0]}, "better": {1: runs["better"][1]}}
    with pytest.raises(ValueError, match="no seed that both have"):
        compare_arms(part, [Pair("better", "plain")])


def test_equal_runs_differ_by_exactly_nothing(runs: Runs) -> None:
    found = compare_arms(
        {"plain": runs["plain"], "identity": runs["plain"]},
        [Pair("identity", "plain", is_claim=False)],
        num_resamples=50,
    )[0]
    assert found.identical
    assert (found.difference.low, found.difference.estimate, found.difference.high) == (0, 0, 0)
    assert found.verdict is Verdict.NOT_SUPPORTED


@pytest.mark.parametrize("num_found", [0, 5])
def test_arms_that_find_nothing_are_not_called_equal(runs: Runs, num_found: int) -> None:
    # without detections, or with some that hit nothing
    def missing(one: Matches, part: int) -> Matches:
        score = one.score[:num_found] - 0.001 * part
        first = np.minimum(one.first, num_found)
        nothing = np.zeros((len(one.hit), num_found), dtype=bool)
        return Matches(first, one.image[:num_found], score, nothing, nothing, one.objects)

    arms = {
        name: {seed: missing(one, part) for seed, one in runs["plain"].items()}
        for part, name in enumerate(("plain", "other"))
    }
    found = compare_arms(arms, [Pair("other", "plain")], num_resamples=50)[0]
    assert found.finds_nothing
    assert not found.identical
    assert found.difference.estimate == 0
    assert found.verdict is Verdict.TOO_LITTLE_DATA


def test_a_baseline_must_exist() -> None:
    with pytest.raises(ValueError, match="baseline='missing'"):
        against_baseline(["plain", "same"], "missing")
    with pytest.raises(ValueError, match="at least two arms"):
        against_baseline(["plain"], "plain")


def test_an_arm_must_exist(runs: Runs) -> None:
    with pytest.raises(ValueError, match="no arm 'missing', only plain, same"):
        compare_arms(runs, [Pair("missing", "plain")])


def test_other_labels_are_noticed(runs: Runs) -> None:
    other = {seed: replace(one, objects=one.objects + 1) for seed, one in runs["same"].items()}
    with pytest.raises(ValueError, match="'same' were scored on other objects"):
        compare_arms({"plain": runs["plain"], "same": other}, [Pair("same", "plain")])
