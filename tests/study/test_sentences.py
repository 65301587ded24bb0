"""What is said of a comparison, word by word where it matters."""

# the punctuation of Chinese is meant
# ruff: noqa: RUF001

import re
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("scipy")
from mlla.study.statistics.comparison import Comparison, Pair
from mlla.study.statistics.difference import Difference
from mlla.study.statistics.sentences import Text, points, sentence
from mlla.study.statistics.verdict import Needed, Verdict

NAN = float("nan")


def comparison(verdict: Verdict, low: float, high: float, **changes: Any) -> Comparison:
    """Return what five seeds say of "arm" beside "base", of AP 40 and more."""
    middle = (low + high) / 2
    gap = Difference(middle, low, high, (high - low) / 4, 8.0, 1e-5, 1e-5, 100)
    found = Comparison(
        pair=Pair("arm", "base"),
        seeds=(0, 1, 2, 3, 4),
        means=(0.4, 0.4 + middle),
        difference=gap,
        identical=False,
        num_claims=1,
        p_value=0.0079,
        adjusted_p_value=0.0079,
        smallest_effect=0.021,
        verdict=verdict,
        needed=Needed(None, None),
    )
    return replace(found, **changes)


BETTER = comparison(Verdict.SUPPORTED, 0.01, 0.03)
OPEN = comparison(
    Verdict.TOO_LITTLE_DATA, -0.012, 0.028, adjusted_p_value=0.31, needed=Needed(17, 900)
)
CONTROL = Pair("arm", "conv", "control")


def said(found: Comparison, **changes: Any) -> Text:
    known = {"kind": "variant", "margin": 0.005, "num_images": 120, "missing_seeds": []}
    return sentence(found, **{**known, **changes})


def test_a_gain_comes_with_its_numbers() -> None:
    text = said(BETTER).en
    assert text == (
        "arm is better than base: AP 42.0 instead of 40.0, a gain of 2.0 points (difference +2.0 "
        "points, 95 % interval +1.0 to +3.0, p = 0.0079, 5 seeds, 120 images)."
    )


def test_harm_is_called_so() -> None:
    text = said(comparison(Verdict.HARMFUL, -0.03, -0.01))
    assert text.en.startswith("arm is worse than base: AP 38.0 instead of 40.0, a loss of 2.0")
    assert text.zh.startswith("arm 不如 base：AP 由 40.0 降至 38.0，下降 2.0 个百分点")


def test_no_gain_names_the_gain_that_would_matter() -> None:
    text = said(comparison(Verdict.NOT_SUPPORTED, -0.011, 0.003, adjusted_p_value=0.4)).en
    assert text.startswith("arm is not better than base by 0.5 points or more: AP 39.6 beside 40.0")
    assert "shows a true gain of 2.1 points four times out of five" in text


def test_harm_that_the_permutation_test_does_not_confirm_is_not_passed_over() -> None:
    below = comparison(Verdict.NOT_SUPPORTED, -0.03, -0.01, adjusted_p_value=0.11)
    assert "It is rather worse: the interval lies below 0" in said(below).en
    around = comparison(Verdict.NOT_SUPPORTED, -0.03, 0.001, adjusted_p_value=0.11)
    assert "rather worse" not in said(around).en


def test_an_open_question_says_what_would_decide_it() -> None:
    text = said(OPEN).en
    assert text.startswith("Whether arm is better than base stays open: AP 40.8 beside 40.0")
    assert "room for no gain and for one that matters (0.5 points)" in text
    assert "About 17 seeds an arm or 900 scored images would decide it." in text


@pytest.mark.parametrize(
    ("needed", "expected"),
    [
        (Needed(17, None), "About 17 seeds an arm would decide it."),
        (Needed(None, 900), "About 900 scored images would decide it."),
        (Needed(None, None), "Neither 200 seeds an arm nor 100 times as many images alone"),
    ],
)
def test_what_would_not_decide_it_is_not_advised(needed: Needed, expected: str) -> None:
    assert expected in said(replace(OPEN, needed=needed)).en


def test_three_seeds_carry_no_verdict() -> None:
    text = said(replace(OPEN, seeds=(0, 1, 2))).en
    assert "figures but no verdict, since 3 seeds an arm cannot carry one" in text
    assert "95 % interval -1.2 to +2.8" in text


def test_one_seed_has_no_interval() -> None:
    alone = Difference(0.008, NAN, NAN, NAN, NAN, NAN, NAN, 100)
    found = replace(OPEN, seeds=(0,), difference=alone, smallest_effect=NAN, adjusted_p_value=1.0)
    text = said(found)
    assert "since 1 seed an arm" in text.en
    assert "no interval" in text.en
    assert "Train at least 4 seeds." in text.en
    assert "interval " not in text.en
    assert "nan" not in text.en + text.zh


def test_too_few_seeds_for_so_many_arms_are_the_reason() -> None:
    found = replace(OPEN, seeds=(0, 1, 2, 3), num_claims=3, smallest_effect=float("inf"))
    text = said(replace(found, needed=Needed(6, None)))
    assert "With 3 arms to judge, 4 seeds can never pass the permutation test; 5 can." in text.en
    assert "inf" not in text.en + text.zh


def test_an_interval_without_zero_that_the_permutation_test_does_not_confirm() -> None:
    found = comparison(Verdict.TOO_LITTLE_DATA, 0.001, 0.03, adjusted_p_value=0.08)
    assert "excludes 0, but the permutation test over seeds does not confirm" in said(found).en


def test_a_block_that_beats_its_control_gets_the_credit() -> None:
    against = replace(BETTER, pair=CONTROL)
    control = replace(OPEN, pair=Pair("conv", "base"))
    text = said(BETTER, against_control=against, control=control).en
    assert "beats a plain convolution of as many parameters, conv, too (+2.0 points" in text
    assert "the block does it" in text


@pytest.mark.parametrize(
    ("against", "control", "expected"),
    [
        (OPEN, BETTER, "conv, gains too, and the block is not shown to beat it"),
        (comparison(Verdict.HARMFUL, -0.03, -0.01), BETTER, "conv, gains 2.0 points more"),
    ],
)
def test_a_gain_that_the_control_shares_is_due_to_the_parameters(
    against: Comparison, control: Comparison, expected: str
) -> None:
    text = said(
        BETTER,
        against_control=replace(against, pair=CONTROL),
        control=replace(control, pair=Pair("conv", "base")),
    ).en
    assert expected in text
    assert "due to the extra parameters as far as this study can tell" in text


def test_a_control_that_shows_nothing_leaves_the_reason_open() -> None:
    text = said(
        BETTER,
        against_control=replace(OPEN, pair=CONTROL),
        control=replace(OPEN, pair=Pair("conv", "base")),
    ).en
    assert "Whether the block did it or merely its parameters stays open" in text


def test_controls_are_not_spoken_of_where_there_is_no_gain() -> None:
    against = replace(OPEN, pair=CONTROL)
    assert said(OPEN, against_control=against, control=BETTER) == said(OPEN)


EQUAL = comparison(
    Verdict.NOT_SUPPORTED,
    0,
    0,
    identical=True,
    difference=Difference(0.0, 0.0, 0.0, 0.0, float("inf"), 0.0, 0.0, 100),
    smallest_effect=0.0,
    means=(0.4, 0.4),
)


def test_an_identity_that_changes_nothing_is_as_it_must_be() -> None:
    text = said(EQUAL, kind="identity").en
    assert "finds exactly what base finds, with the same scores, in all 5 runs: AP 40.0" in text
    assert "the difference is exactly 0" in text
    assert "So it must be" in text


def test_one_equal_run_is_one() -> None:
    text = said(replace(EQUAL, seeds=(0,)), kind="identity").en
    assert "with the same scores, in the 1 run of each: AP 40.0" in text


def test_arms_that_find_nothing_are_not_equally_good() -> None:
    nothing = replace(
        OPEN,
        means=(0.0, 0.0),
        difference=Difference(0.0, 0.0, 0.0, 0.0, float("inf"), 0.0, 0.0, 100),
    )
    assert said(replace(nothing, identical=True)) == said(nothing)
    assert said(nothing).en == (
        "Neither arm nor base finds an object in any run (AP 0.0), so nothing can be said: train "
        "longer, or on larger images."
    )


def test_a_variant_that_changes_nothing_had_no_effect() -> None:
    assert "The change had no effect at all." in said(EQUAL).en


def test_an_identity_that_changes_something_shows_chance() -> None:
    assert "this is what chance does to a training here" in said(OPEN, kind="identity").en


def test_seeds_that_were_left_out_are_named() -> None:
    assert said(BETTER, missing_seeds=[5]).en.endswith("not both arms have finished them: seed 5.")
    assert said(BETTER, missing_seeds=[5, 7]).en.endswith("finished them: seeds 5, 7.")


def test_no_worse_and_faster_is_said() -> None:
    equivalence = {
        "margin": 0.005,
        "faster_than": 0.2,
        "runtime": "onnxruntime",
        "ratio": {"median": 0.7, "low": 0.68, "high": 0.72},
        "holds": True,
    }
    text = said(OPEN, equivalence=equivalence).en
    assert "worse by less than 0.5 points and takes at least 20 % less time per image" in text
    assert "onnxruntime, 0.70, 0.68–0.72 times" in text
    assert said(OPEN, equivalence={**equivalence, "holds": False}) == said(OPEN)


@pytest.mark.parametrize(
    "found",
    [
        BETTER,
        OPEN,
        EQUAL,
        comparison(Verdict.HARMFUL, -0.03, -0.01),
        comparison(Verdict.NOT_SUPPORTED, -0.011, 0.003),
        comparison(Verdict.NOT_SUPPORTED, -0.011, -0.003),
        replace(OPEN, seeds=(0, 1)),
        replace(OPEN, needed=Needed(None, None)),
        replace(OPEN, means=(0.0, 0.0)),
    ],
)
def test_both_languages_state_the_same_numbers(found: Comparison) -> None:
    text = said(
        found,
        missing_seeds=[9],
        against_control=replace(OPEN, pair=CONTROL),
        control=replace(BETTER, pair=Pair("conv", "base")),
    )

    def stated(words: str) -> list[str]:
        return sorted(re.findall(r"[+-]?\d+(?:\.\d+)?", words))

    assert stated(text.en) == stated(text.zh)
    # and neither has lost a name or left a blank before a Chinese mark
    assert ("conv" in text.en) == ("conv" in text.zh)
    assert ("base" in text.en) == ("base" in text.zh)
    assert not re.search(r"\s[，。；：]", text.zh)


def test_points_keep_what_one_decimal_would_hide() -> None:
    assert points(0.0231) == "2.3"
    assert points(0.0004, signed=True) == "+0.04"
    assert points(0.0, signed=True) == points(0.0) == "0.0"
    assert points(-0.012, signed=True) == "-1.2"
