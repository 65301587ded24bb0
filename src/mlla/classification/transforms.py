"""From an image to the tensor that a classifier sees, by timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.data import create_transform, resolve_model_data_config
from torch import nn

from mlla.classification.recipe import Recipe

# what takes the place of RandAugment, as in the authors' code
COLOR_JITTER = 0.4


def input_size_of(network: nn.Module, image_size: int | None) -> tuple[int, int, int]:
    """Return channels, height and width of the images.

    Args:
        network: A model of timm.
        image_size: Height and width in pixels; by default what the model was made for.

    Raises:
        ValueError: If the size makes no sense, or the model does not take colour images.
    """
    channels, height, width = resolve_model_data_config(network)["input_size"]
    channels = getattr(network, "in_chans", channels)
    if channels != 3:
        raise ValueError(f"the model takes {channels} channels; images are read with 3")
    if image_size is None:
        return channels, height, width
    if not isinstance(image_size, int) or image_size < 1:
        raise ValueError(f"image_size={image_size!r} must be a whole number of pixels from 1 on")
    return channels, image_size, image_size


def scoring_transform(network: nn.Module, input_size: tuple[int, int, int]) -> Callable[[Any], Any]:
    """Return timm's resize, centre crop and normalisation for a model.

    Args:
        network: A model of timm.
        input_size: Channels, height and width of the result.
    """
    return create_transform(**{**resolve_model_data_config(network), "input_size": input_size})


def training_transform(
    network: nn.Module, input_size: tuple[int, int, int], recipe: Recipe
) -> Callable[[Any], Any]:
    """Return timm's random crop, flip, augmentation and erasing.

    Args:
        network: A model of timm; its means and deviations normalise.
        input_size: Channels, height and width of the result.
        recipe: Says which augmentation.

    Raises:
        ValueError: If timm does not know `auto_augment`.
    """
    config = resolve_model_data_config(network)
    try:
        return create_transform(
            input_size,
            is_training=True,
            color_jitter=COLOR_JITTER,
            auto_augment=recipe.auto_augment,
            re_prob=recipe.random_erasing,
            re_mode="pixel",
            interpolation=config["interpolation"],
            mean=config["mean"],
            std=config["std"],
        )
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"auto_augment={recipe.auto_augment!r} is unknown to timm; the published one is "
            f"{Recipe.auto_augment!r}, None is for none"
        ) from error
