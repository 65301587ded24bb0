"""Arguments of training that a study takes, and those that it refuses with a reason."""

import inspect
from types import SimpleNamespace

import pytest

from mlla.study import compare
from mlla.study.planning.settings import OPEN, OWN, REFUSED, complete_settings
from mlla.yolo.training_arguments import default_arguments


def complete(**given):
    return complete_settings({"epochs": 3, "imgsz": 64, "device": "cpu", **given}, num_classes=6)


def test_the_default_optimizer_is_what_auto_takes_for_a_short_training():
    import torch
    from ultralytics.engine.trainer import BaseTrainer

    settings = complete()
    trainer = object.__new__(BaseTrainer)
    trainer.data = {"nc": 6}
    trainer.args = SimpleNamespace(**default_arguments())
    optimizer = trainer.build_optimizer(torch.nn.Linear(2, 2), name="auto", iterations=1000)
    assert settings["optimizer"] == type(optimizer).__name__
    assert settings["lr0"] == optimizer.param_groups[0]["lr"]
    assert settings["momentum"] == optimizer.param_groups[0]["betas"][0]
    assert settings["warmup_bias_lr"] == trainer.args.warmup_bias_lr


def test_a_named_optimizer_keeps_the_defaults_of_ultralytics():
    settings = complete(optimizer="SGD", lr0=0.02)
    assert (settings["lr0"], settings["momentum"], settings["warmup_bias_lr"]) == (0.02, 0.937, 0.1)


def test_all_that_matters_is_written_down_and_budgets_are_fixed():
    settings = complete(mosaic=0.5)
    defaults = default_arguments()
    expected = [key for key in OPEN if key in defaults]
    assert set(expected) <= set(settings)
    assert settings["mosaic"] == 0.5
    assert settings["hsv_h"] == defaults["hsv_h"]
    assert (settings["patience"], settings["deterministic"], settings["val"]) == (0, True, True)


@pytest.mark.parametrize("key", sorted(REFUSED))
def test_what_would_falsify_a_comparison_is_refused_with_the_reason(key):
    with pytest.raises(ValueError, match=rf"{key}=1 cannot be set in a comparison: \w+"):
        complete(**{key: 1})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer": "auto"}, "chooses by itself"),
        ({"batch": -1}, "batch=-1 must be a number of images"),
        ({"batch": 0.7}, "batch=0.7 must be a number of images"),
        ({"imgsz": [64, 32]}, "must be one size in pixels"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"conf": 0.5}, "no argument of training detectors"),
        ({"epoch": 3}, "unknown argument epoch=3; did you mean epochs"),
        ({"modles": "a"}, "unknown argument modles='a'; did you mean models"),
        ({"lr0": "high"}, "lr0=high' is of invalid type str"),
        ({"mosaic": 2.0}, "mosaic=2.0' is an invalid value"),
    ],
)
def test_wrong_arguments_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        complete(**given)


def test_nothing_is_both_open_and_refused():
    assert not {*OPEN, *OWN} & set(REFUSED)


def test_the_arguments_of_compare_are_known_to_the_hints():
    parameters = set(inspect.signature(compare).parameters) - {"settings"}
    assert parameters == {*OWN, "epochs", "imgsz", "device"}
