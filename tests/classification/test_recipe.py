"""The published recipe, and what is derived from it."""

import re

import pytest
import timm

from mlla.classification import Recipe
from mlla.classification.transforms import training_transform


def test_the_published_training_of_the_tiny_model():
    recipe = Recipe().for_training("mlla_tiny", batch=4096, epochs=300)
    # written down from the paper
    assert recipe.lr == pytest.approx(4e-3)
    assert recipe.warmup_epochs == pytest.approx(20)
    assert (recipe.warmup_lr, recipe.min_lr, recipe.weight_decay) == (5e-7, 5e-6, 0.05)
    assert (recipe.mixup, recipe.cutmix, recipe.label_smoothing) == (0.8, 1.0, 0.1)
    assert (recipe.auto_augment, recipe.random_erasing) == ("rand-m9-mstd0.5-inc1", 0.25)


@pytest.mark.parametrize(
    ("model", "drop_path", "mesa"),
    [
        ("mlla_tiny", 0.2, 1.0),
        ("mila_small", 0.3, 1.5),
        ("mlla_base", 0.5, 2.0),
        ("resnet_tiny", 0, 0),
        ("resnet18", 0, 0),
    ],
)
def test_regularisation_by_size(model, drop_path, mesa):
    recipe = Recipe().for_training(model, batch=512, epochs=30)
    assert (recipe.lr, recipe.drop_path, recipe.mesa) == (5e-4, drop_path, mesa)


def test_what_is_given_stays():
    given = Recipe(lr=0.1, warmup_epochs=0, drop_path=0.1, mesa=0)
    assert given.for_training("mlla_base", batch=64, epochs=3) == given


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0}, "lr=0 must be more than 0"),
        ({"lr": "fast"}, "lr='fast' must be a number"),
        ({"drop_path": 1}, "drop_path=1 must be at least 0 and less than 1"),
        ({"mixup": -0.1}, "mixup=-0.1 must be at least 0"),
        ({"weight_decay": float("nan")}, "weight_decay=nan"),
        ({"auto_augment": 9}, "auto_augment=9 must be a name, or None"),
        ({"mixup": None}, "mixup=None must be a number"),
    ],
)
def test_values_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Recipe(**changes)


def test_values_that_do_not_fit_the_training():
    with pytest.raises(ValueError, match="warmup_epochs=5 must be less than epochs=5"):
        Recipe(warmup_epochs=5).for_training("mlla_tiny", batch=64, epochs=5)
    with pytest.raises(ValueError, match=r"must not be more than lr=.*; lower them too"):
        Recipe().for_training("mlla_tiny", batch=1, epochs=5)


def transforms(**changes):
    network = timm.create_model("mlla_tiny", dim=8, depths=(1,), num_heads=(1,))
    recipe = Recipe(**changes)
    return [
        type(step).__name__ for step in training_transform(network, (3, 16, 16), recipe).transforms
    ]


def test_augmentation_follows_the_recipe():
    assert {"RandAugment", "RandomErasing", "RandomHorizontalFlip"} <= set(transforms())
    assert "RandAugment" not in transforms(auto_augment=None)
    assert "RandomErasing" not in transforms(random_erasing=0)
    with pytest.raises(ValueError, match="auto_augment='rend-m9' is unknown to timm"):
        transforms(auto_augment="rend-m9")
