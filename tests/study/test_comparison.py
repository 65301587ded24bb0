"""Arms against a baseline, on simulated runs."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("scipy")
from mlla.study.comparison import compare_arms
from mlla.study.matches import Matches
from mlla.study.simulated import World, draw_run, draw_test_set
from mlla.study.verdict import Verdict

WORLD = World(seed_spread=0.02)


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Matches]]:
    generator = np.random.default_rng(0)
    images = draw_test_set(WORLD, 200, generator)
    return {
        arm: [draw_run(WORLD, images, skill, generator) for _ in range(5)]
        for arm, skill in {"plain": 0.3, "same": 0.3, "better": 0.6, "worse": 0.0}.items()
    }


def test_large_effects_are_found_and_none_is_invented(runs: dict[str, list[Matches]]) -> None:
    found = {one.arm: one for one in compare_arms(runs, "plain", num_resamples=200)}
    assert list(found) == ["same", "better", "worse"]
    assert found["better"].verdict is Verdict.SUPPORTED
    assert found["worse"].verdict is Verdict.HARMFUL
    assert found["same"].verdict in (Verdict.NOT_SUPPORTED, Verdict.TOO_LITTLE_DATA)
    # 2 of 252 arrangements, three comparisons
    assert found["better"].p_value == pytest.approx(2 / 252)
    assert found["better"].adjusted_p_value == pytest.approx(3 * 2 / 252)


def test_the_same_study_says_the_same_twice(runs: dict[str, list[Matches]]) -> None:
    assert compare_arms(runs, "plain", num_resamples=50) == compare_arms(
        runs, "plain", num_resamples=50
    )


def test_three_runs_give_figures_and_no_verdict(runs: dict[str, list[Matches]]) -> None:
    few = {arm: matches[:3] for arm, matches in runs.items()}
    for one in compare_arms(few, "plain", num_resamples=50):
        assert one.verdict is Verdict.TOO_LITTLE_DATA
        assert one.p_value >= 0.1


def test_a_baseline_must_exist(runs: dict[str, list[Matches]]) -> None:
    with pytest.raises(ValueError, match="baseline='missing'"):
        compare_arms(runs, "missing")
    with pytest.raises(ValueError, match="at least two arms"):
        compare_arms({"plain": runs["plain"]}, "plain")


def test_other_labels_are_noticed(runs: dict[str, list[Matches]]) -> None:
    other = [replace(one, objects=one.objects + 1) for one in runs["same"]]
    with pytest.raises(ValueError, match="'same' were scored on other objects"):
        compare_arms({"plain": runs["plain"], "same": other}, "plain")
