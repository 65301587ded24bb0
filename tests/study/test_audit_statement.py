"""What a claim is worth, in words."""

import math

import numpy as np
import pytest
from run_folders import write_arms, write_run

from mlla.study.audit import audit
from mlla.study.audit.claims import Claim, Figures, Spread
from mlla.study.audit.finding import Finding, Weight
from mlla.study.audit.rescored import Rescored
from mlla.study.audit.statement import state
from mlla.study.statistics.difference import Difference
from mlla.study.statistics.verdict import Needed, Verdict


def claim(num_runs=(5, 5), p_value=0.008, smallest=0.0079, gain=0.05):
    figures = [
        Figures(number, Spread(mean, 0.01), Spread(mean + 0.01, 0.01))
        for number, mean in zip(num_runs, (0.30 + gain, 0.30), strict=True)
    ]
    return Claim("new", "old", *figures, p_value, smallest)


def rescored(verdict, low=0.01, high=0.09, split="test"):
    gap = Difference((low + high) / 2, low, high, 0.01, 8.0, 0.0, 0.0001, 100)
    scores = ((0.35,) * 5, (0.30,) * 5)
    checkpoint = "best" if split == "test" else "last"
    return Rescored(split, checkpoint, 80, "d", *scores, gap, 0.01, verdict, Needed(9, 400))


def test_scores_of_results_csv_become_figures(tmp_path):
    write_arms(tmp_path, {"yolov8n": (0.30, 0.32, 0.34), "new": (0.40, 0.46)})
    (found,) = audit(tmp_path, baseline="yolov8n", quick=True).claims
    assert found.num_runs == (2, 3)
    assert found.difference == pytest.approx(0.43 - 0.32)
    assert found.against_figures.last.deviation == pytest.approx(np.std([0.30, 0.32, 0.34], ddof=1))
    # all 10 ways to deal five runs out to arms of two and three: two of them are as extreme
    assert found.smallest_p_value == pytest.approx(0.2)
    assert found.p_value == pytest.approx(0.2)


def test_the_best_epoch_is_too_good_and_the_report_says_by_how_much(tmp_path):
    write_run(tmp_path / "a", (0.2, 0.5, 0.3))
    write_run(tmp_path / "b", (0.2, 0.4, 0.4), model="other.yaml")
    report = audit(tmp_path, baseline="yolov8n", quick=True)
    (found,) = report.claims
    assert found.against_figures.optimism == pytest.approx(0.2)
    assert found.figures.optimism == 0
    assert (found.difference, found.best_difference) == (
        pytest.approx(0.1),
        pytest.approx(-0.1),
    )


def test_one_seed_each_says_nothing(tmp_path):
    write_arms(tmp_path, {"yolov8n": (0.3,), "new": (0.9,)})
    report = audit(tmp_path, quick=True)
    assert report.statements[0].headline == "ONE SEED EACH"
    assert "says nothing about the difference" in report.text()
    assert math.isnan(report.claims[0].p_value)


def test_too_few_seeds_name_the_smallest_p_value_there_could_be():
    said = state(claim((3, 3), 0.1, 0.1), None, [])
    assert said.headline == "TOO FEW SEEDS"
    assert "could not be below 0.1" in said.reason


def test_no_finished_run_is_nothing_to_compare():
    nothing = Figures(0, Spread(math.nan, math.nan), Spread(math.nan, math.nan))
    said = state(Claim("new", "old", nothing, claim().figures, math.nan, 1.0), None, [])
    assert (said.headline, said.sentences) == ("NOTHING TO COMPARE", ())
    assert "new has no finished run" in said.reason


@pytest.mark.parametrize(
    ("p_value", "gain", "headline"),
    [(0.3, 0.05, "NOT SHOWN"), (0.01, 0.05, "BETTER ON VAL"), (0.01, -0.05, "WORSE ON VAL")],
)
def test_without_predictions_the_log_is_judged_and_called_so(p_value, gain, headline):
    assert state(claim(p_value=p_value, gain=gain), None, []).headline == headline


@pytest.mark.parametrize(
    ("verdict", "headline", "words"),
    [
        (Verdict.SUPPORTED, "SUPPORTED", "better than old, over seeds and images"),
        (Verdict.HARMFUL, "WORSE", "worse than old"),
        (Verdict.NOT_SUPPORTED, "NO GAIN THAT MATTERS", "0.005 or more is ruled out"),
        (Verdict.TOO_LITTLE_DATA, "UNDECIDED", "9 runs of each arm or 400 images"),
    ],
)
def test_predictions_decide_where_there_are_enough_runs(verdict, headline, words):
    said = state(claim(), rescored(verdict), [])
    assert said.headline == headline
    assert words in said.reason
    assert "on 80 test images" in said.sentences[1]
    assert "+0.0100 to +0.0900" in said.sentences[1]


def test_scores_on_val_say_that_these_images_chose_the_checkpoint():
    said = state(claim(), rescored(Verdict.SUPPORTED, split="val"), [])
    assert "these images chose best.pt, so last.pt was scored" in said.sentences[1]


def test_a_claim_whose_arms_differ_in_more_is_none_of_the_model():
    note = Finding(Weight.FAULT, "a", "b", spoils=("other",))
    spoiler = Finding(Weight.FAULT, "c", "d", spoils=("new", "old"))
    said = state(claim(), rescored(Verdict.SUPPORTED), [note, spoiler])
    assert said.headline == "NOT THIS ALONE"
    assert "see fault 2" in said.reason


def test_arms_that_learned_nothing_are_not_compared(tmp_path):
    write_arms(tmp_path, {"yolov8n": (0.0,) * 5, "new": (0.0,) * 5})
    report = audit(tmp_path, baseline="yolov8n", quick=True)
    (said,) = report.statements
    assert said.headline == "NOTHING TO COMPARE"
    assert "Neither arm learned anything" in said.reason
    assert "see fault" not in said.reason
