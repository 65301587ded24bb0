"""The same weights on any number of processes, and after any interruption."""

import csv
import os
import signal
from pathlib import Path

import pytest
import torch
from toy_task import ToyTask

import children
from mlla.training import LoopSettings, fit
from mlla.training import run_folder as run_folder_module

SETTINGS = {"epochs": 4, "batch": 8, "forward_batch": 4, "workers": 0, "seed": 3}


def train(out, task=None, **changes):
    fit(task or ToyTask(), LoopSettings(**{**SETTINGS, **changes}), out)


def weights(out):
    learner = torch.load(Path(out) / "state.pt", weights_only=True)["learner"]
    moments = {
        f"{number}.{name}": value
        for number, state in learner["optimizer"]["state"].items()
        for name, value in state.items()
    }
    return {
        **{f"model.{name}": value for name, value in learner["model"].items()},
        **{f"average.{name}": value for name, value in learner["average"].items()},
        **moments,
    }


def assert_same_bits(one, two):
    one, two = weights(one), weights(two)
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


def largest_difference(one, two):
    one, two = weights(one), weights(two)
    return max((one[name].double() - two[name].double()).abs().max().item() for name in one)


def results(out):
    with (Path(out) / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{name: float(row[name]) for name in row if name != "time"} for row in rows]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    assert children.run(train, out) == [0]
    return out


def test_two_processes_give_the_same_bits_as_one(uninterrupted, tmp_path):
    assert children.run(train, tmp_path / "run", processes=2) == [0, 0]
    assert_same_bits(uninterrupted, tmp_path / "run")
    one, two = results(uninterrupted), results(tmp_path / "run")
    # sums of losses, which are only written down, are of another order
    assert [list(row) for row in one] == [list(row) for row in two]
    assert all(row == pytest.approx(other) for row, other in zip(one, two, strict=True))


def test_sums_of_more_terms_round_differently_on_two_processes_and_no_more(tmp_path):
    # (a + b) + (c + d) instead of ((a + b) + c) + d
    changes = {"batch": 16, "forward_batch": 4, "epochs": 3}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        codes = children.run(lambda out=out: train(out, **changes), processes=processes)
        assert codes == [0] * processes
    assert largest_difference(tmp_path / "1", tmp_path / "2") < 1e-5


def test_the_training_depends_on_the_seed(uninterrupted, tmp_path):
    assert children.run(lambda: train(tmp_path / "run", seed=4)) == [0]
    assert largest_difference(uninterrupted, tmp_path / "run") > 1e-2


def test_workers_change_nothing(uninterrupted, tmp_path):
    assert children.run(lambda: train(tmp_path / "run", workers=2)) == [0]
    assert_same_bits(uninterrupted, tmp_path / "run")


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_epoch(out, epoch):
    train(out, ToyTask(on_epoch=lambda now: kill_myself() if now == epoch else None))


def train_until_state_is_half_written(out, epochs):
    save = torch.save

    def half(state, path):
        if state.get("epochs") == epochs:
            path.write_bytes(b"half")
            kill_myself()
        save(state, path)

    run_folder_module.torch.save = half
    train(out)


def train_until_best_is_replaced(out):
    def kill(*_paths, **_options):
        kill_myself()

    run_folder_module.shutil.copytree = kill
    train(out)


@pytest.mark.parametrize(
    ("train_until", "argument", "then_on"),
    [
        (train_until_epoch, 0, 1),
        (train_until_epoch, 2, 2),
        (train_until_epoch, 3, 1),
        (train_until_state_is_half_written, 1, 1),
        (train_until_state_is_half_written, 4, 1),
    ],
)
def test_killed_and_resumed_is_uninterrupted(
    uninterrupted, tmp_path, train_until, argument, then_on
):
    out = tmp_path / "run"
    assert children.run(train_until, out, argument) == [-signal.SIGKILL]
    assert children.run(train, out, processes=then_on) == [0] * then_on
    assert_same_bits(uninterrupted, out)
    one, two = results(uninterrupted), results(out)
    assert one == two if then_on == 1 else len(one) == len(two)
    one, two = (torch.load(run / "best" / "weights.pt") for run in (uninterrupted, out))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert sorted(path.name for path in out.iterdir()) == [
        "args.yaml",
        "best",
        "last",
        "results.csv",
        "state.pt",
    ]


def test_killed_while_best_is_copied(uninterrupted, tmp_path):
    out = tmp_path / "run"
    assert children.run(train_until_best_is_replaced, out) == [-signal.SIGKILL]
    assert children.run(train, out) == [0]
    assert_same_bits(uninterrupted, out)
    assert (out / "best" / "weights.pt").is_file()


def test_one_of_two_processes_killed(uninterrupted, tmp_path):
    def kill_the_second(epoch):
        if epoch == 2 and os.environ["RANK"] == "1":
            kill_myself()

    out = tmp_path / "run"
    codes = children.run(lambda: train(out, ToyTask(on_epoch=kill_the_second)), processes=2)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] != 0
    assert children.run(train, out) == [0]
    assert_same_bits(uninterrupted, out)


def test_a_complete_training_is_left_alone(uninterrupted):
    before = (uninterrupted / "state.pt").read_bytes()
    assert children.run(train, uninterrupted) == [0]
    assert (uninterrupted / "state.pt").read_bytes() == before
