"""The guards that look at the plan, and those that look at the finished runs."""

from pathlib import Path

import pytest

from mlla.study.guards.plan_guards import NAMES, guard, planned_guards, replaced, seeds_guard
from mlla.study.guards.run_guards import finished_guards
from mlla.study.planning.dataset import StudyData
from mlla.study.planning.split_leaks import SplitLeaks
from mlla.study.runs.run_folder import Outcome

OPTIMIZER = {"optimizer": "AdamW", "lr0": 0.001, "momentum": 0.9, "weight_decay": 0, "epochs": 3}
COUNTS = {"shared_with_baseline": 355, "baseline_tensors": 355}
PLAN = {
    "arms": [{"name": "a"}, {"name": "b"}],
    "counts": {"a": COUNTS, "b": {"shared_with_baseline": 343, "baseline_tensors": 355}},
    "versions": {"ultralytics": "8.4", "torch": "2.6"},
}


def data(*, identical=0, near=0, touched=0, splits=("train", "val", "test")):
    lists = {split: (Path(f"{split}.png"),) for split in splits}
    leaks = SplitLeaks(identical, near, touched, ())
    return StudyData(Path("data.yaml"), ("x",), lists, dict.fromkeys(splits, "0"), None, leaks)


def planned(found, checkpoint="best", seeds=5, claims=1):
    guards = planned_guards(
        found, checkpoint=checkpoint, num_seeds=seeds, num_claims=claims, settings=OPTIMIZER
    )
    return {one["name"]: one for one in guards}


def outcome(arm, seed, *, seen=("e0", "e1"), shared=None, torch="2.6"):
    counts = {**PLAN["counts"][arm], **({} if shared is None else {"shared_with_baseline": shared})}
    versions = {"ultralytics": "8.4", "torch": torch}
    return Outcome(
        Path(arm), arm, seed, counts, "", list(seen), 2, 1.0, 1, 1, "process", "best", 1, 1,
        versions, "cpu", {},
    )  # fmt: skip


def finished(*outcomes):
    return {one["name"]: one["state"] for one in finished_guards(PLAN, outcomes)}


GOOD = [outcome(arm, seed, seen=(f"{seed}",)) for arm in "ab" for seed in (0, 1)]


def test_every_planned_guard_is_there_in_both_languages():
    guards = planned(data())
    assert list(guards) == [name for name in NAMES if name != "added_runs_comparable"]
    assert all(one["en"] and one["zh"] and one["en"] != one["zh"] for one in guards.values())
    waiting = {name for name, one in guards.items() if one["state"] == "not checked"}
    assert waiting == {
        "seed_changes_result",
        "seed_reproduces_result",
        "same_data_order",
        "shared_initial_weights",
        "one_version",
    }


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (data(), "passed"),
        (data(near=None), "not checked"),
        (data(near=3, touched=2), "warning"),
        (data(identical=1, near=None, touched=1), "warning"),
    ],
)
def test_leaks_between_splits_are_a_warning(found, state):
    assert planned(found)["near_duplicates_across_splits"]["state"] == state


def test_the_sentences_name_the_numbers():
    one = planned(data(identical=4, near=31, touched=17))["near_duplicates_across_splits"]
    assert all(number in one[language] for number in ("4", "31", "17") for language in ("en", "zh"))


def test_the_checkpoint_is_never_chosen_on_scored_images():
    best = planned(data())["checkpoint_not_chosen_on_scored_images"]
    assert best["en"] == "val chose the checkpoint, test scores it."
    last = planned(data(splits=("train", "val")), checkpoint="last")
    last = last["checkpoint_not_chosen_on_scored_images"]
    assert last["en"].startswith("The last epoch is scored on val, so no image chose")


@pytest.mark.parametrize(
    ("seeds", "claims", "state"),
    [(3, 1, "warning"), (4, 1, "passed"), (4, 2, "warning"), (5, 2, "passed")],
)
def test_more_variants_take_more_seeds(seeds, claims, state):
    assert seeds_guard(seeds, claims)["state"] == state


def test_like_runs_pass():
    assert set(finished(*GOOD).values()) == {"passed"}


@pytest.mark.parametrize(
    ("odd", "failing"),
    [
        (outcome("b", 1, seen=("another",)), "same_data_order"),
        (outcome("b", 1, seen=("1",), shared=12), "shared_initial_weights"),
        (outcome("b", 1, seen=("1",), torch="2.7"), "one_version"),
    ],
)
def test_one_odd_run_fails_its_guard_and_no_other(odd, failing):
    states = finished(*GOOD[:3], odd)
    assert [name for name, state in states.items() if state == "failed"] == [failing]


def test_guards_are_replaced_by_name_in_their_order():
    old = [guard(name, "not checked", {}, "e", "z") for name in reversed(NAMES)]
    new = replaced(old, [guard(NAMES[2], "passed", {}, "e", "z")])
    assert [one["name"] for one in new] == list(NAMES)
    assert [one["name"] for one in new if one["state"] == "passed"] == [NAMES[2]]
    with pytest.raises(ValueError, match="name='luck' is no guard"):
        guard("luck", "passed", {}, "e", "z")
