"""What optimizer=auto became."""

import math

import pytest
from run_folders import HEADER, network, write_run

from mlla.study.audit.optimizer import chosen_optimizer
from mlla.study.audit.read_runs import read_run


def logged(folder, *, epochs, rates, version="8.3.70", **arguments):
    """Write a run of optimizer=auto with two classes and these learning rates."""
    scores = [0.1 + 0.01 * epoch for epoch in range(len(rates))]
    write_run(
        folder, scores, epochs=epochs, version=version, optimizer="auto", lr0=0.01, **arguments
    )
    rows = [
        f"{epoch},1,2,{score},{score},1,{rate:.6g},{rate:.6g},{2 * rate:.6g}"
        for epoch, (score, rate) in enumerate(zip(scores, rates, strict=True), 1)
    ]
    (folder / "results.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return chosen_optimizer(read_run(folder, folder.parent))


def linear(lr0, epochs, lrf=0.01):
    """The schedule of Ultralytics: from lr0 in the first epoch down to lr0 * lrf after the last."""
    return [lr0 * ((1 - epoch / epochs) * (1 - lrf) + lrf) for epoch in range(epochs)]


def cosine(lr0, epochs, lrf=0.01):
    return [
        lr0 * (((1 - math.cos(epoch * math.pi / epochs)) / 2) * (lrf - 1) + 1)
        for epoch in range(epochs)
    ]


# 0.002 * 5 / (4 + 2 classes), rounded to six digits
SHORT_LR0 = 0.001667


def test_a_named_optimizer_is_taken_at_its_word(tmp_path):
    run = read_run(write_run(tmp_path / "a", optimizer="SGD", lr0=0.02), tmp_path)
    found = chosen_optimizer(run)
    assert (found.name, found.lr0, found.evidence) == ("SGD", 0.02, "its arguments")


def test_the_checkpoint_of_newer_releases_knows_the_choice(tmp_path):
    ran_with = {"optimizer": "MuSGD", "lr0": 0.01}
    folder = write_run(tmp_path / "a", optimizer="auto", momentum=0.937, ran_with=ran_with)
    found = chosen_optimizer(read_run(folder, tmp_path))
    assert (found.name, found.lr0, found.evidence) == ("MuSGD", 0.01, "the checkpoint")
    # asked for was 0.937, which auto ignores
    assert found.momentum == 0.9


@pytest.mark.parametrize("schedule", [linear, cosine])
def test_learning_rates_tell_adamw_from_the_long_choice(schedule, tmp_path):
    cos_lr = schedule is cosine
    rates = schedule(SHORT_LR0, 8)
    found = logged(tmp_path / "a", epochs=8, rates=rates, cos_lr=cos_lr)
    assert (found.name, found.lr0) == ("AdamW", SHORT_LR0)
    found = logged(tmp_path / "b", epochs=8, rates=schedule(0.01, 8), cos_lr=cos_lr)
    assert (found.name, found.lr0) == ("SGD", 0.01)


def test_a_run_that_stopped_early_tells_too(tmp_path):
    found = logged(tmp_path / "a", epochs=100, rates=linear(SHORT_LR0, 100)[:7])
    assert found.name == "AdamW"


def test_rates_within_the_warm_up_tell_nothing(tmp_path):
    found = logged(tmp_path / "a", epochs=3, rates=[0.0002, 0.0005, 0.0006])
    assert (found.name, found.lr0) == ("auto", None)


def test_without_a_checkpoint_the_number_of_classes_is_unknown(tmp_path):
    found = logged(tmp_path / "a", epochs=8, rates=linear(SHORT_LR0, 8), version=None)
    assert found.lr0 is None


def test_another_number_of_classes_has_another_rate(tmp_path):
    made = network(nc=80)
    lr0 = 0.000119
    found = logged(tmp_path / "a", epochs=8, rates=linear(lr0, 8), made=made)
    assert found.lr0 == pytest.approx(0.002 * 5 / 84, rel=0.01)
