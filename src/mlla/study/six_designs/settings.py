"""How the rows are trained: defaults by size, and what may be changed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from mlla.classification import Recipe
from mlla.models.six_designs import SIZES, model_name
from mlla.training import LoopSettings

#: Beyond `LoopSettings` and `Recipe`. "tiny" is trained as MLLA was on ImageNet-1K, without MESA
#: and with the drop path of Swin-T; "mini" for some thousand images on a machine without a GPU.
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "tiny": {"epochs": 300, "batch": 4096, "drop_path": 0.2},
        "mini": {
            "epochs": 60,
            "batch": 64,
            "lr": 1e-3,
            "ema_decay": 0.99,
            "mixup": 0.0,
            "cutmix": 0.0,
            "auto_augment": "",
            "random_erasing": 0.0,
        },
    }
)
# the study itself decides these: each run has its seed, and every epoch is scored to choose one
_OWN = ("seed", "device", "workers", "evaluate_every")
_LOOP = tuple(field.name for field in fields(LoopSettings) if field.name not in _OWN)
_RECIPE = tuple(field.name for field in fields(Recipe))
NAMES = (*_LOOP, *_RECIPE)


def complete_settings(
    size: str, given: Mapping[str, Any], *, device: str, loader_workers: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the loop and the recipe, nothing left open but the seed.

    Args:
        size: A key of `SIZES`.
        given: What is to differ from the defaults, by the names of `LoopSettings` and `Recipe`.
        device: "auto" or "cpu".
        loader_workers: Processes that read images for each run.

    Raises:
        ValueError: If a name is unknown or a value makes no sense.
    """
    if size not in SIZES:
        raise ValueError(f"size={size!r} must be one of {', '.join(SIZES)}")
    for name in given:
        if name not in NAMES:
            near = get_close_matches(name, NAMES, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(NAMES)}"
            raise ValueError(f"{name}= is no setting of these trainings; {hint}")
    chosen = {**DEFAULTS[size], **given}
    loop = LoopSettings(
        **{name: value for name, value in chosen.items() if name in _LOOP},
        device=device,
        workers=loader_workers,
    )
    recipe = Recipe(**{name: value for name, value in chosen.items() if name in _RECIPE})
    filled = recipe.for_training(model_name(size), batch=loop.batch, epochs=loop.epochs)
    settings = asdict(loop)
    del settings["seed"]
    return settings, asdict(filled)
