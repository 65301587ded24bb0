# SPDX-License-Identifier: AGPL-3.0-only
"""The names of blocks that `plug` takes, and what they mean.

"mlla"                      a block of this package
"identity"                  nothing, a control
"FILE.py:Class"             a class of the user
"conv_like_mlla"            plain convolutions of as many parameters as that block, a control
"conv_like:FILE.py:Class"   the same for a class of the user
"conv_like:yolov8n-mlla"    plain convolutions of as many parameters as that model has more
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn import tasks

from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.config import model_config
from mlla.yolo.expand import Config
from mlla.yolo.rows import INSERTABLE
from mlla.yolo.user_block import is_user_block, user_block

CONVOLUTION_LIKE = "conv_like"


def convolution_like(block: str) -> str:
    """Return the name of the convolution block that controls for `block` or a model."""
    return f"{CONVOLUTION_LIKE}{'_' if block in INSERTABLE else ':'}{block}"


def imitated(block: str) -> str | None:
    """Return what a convolution block has as many parameters as; None for other blocks."""
    rest = block.removeprefix(CONVOLUTION_LIKE)
    if rest == block or rest[:1] not in ("_", ":"):
        return None
    return rest[1:]


def check_block(block: str) -> None:
    """Raise unless `block` is a name of one of the forms; nothing is imported or built.

    Raises:
        ValueError: If it is not.
    """
    inner = imitated(block) or block
    if inner in INSERTABLE or is_user_block(inner) or block.startswith(f"{CONVOLUTION_LIKE}:"):
        return
    raise ValueError(
        f"block={block!r} is unknown; choose from {sorted(INSERTABLE)}, or name a class of yours "
        "as FILE.py:Class"
    )


def build_block(block: str, width: int, folders: Sequence[str] = ()) -> nn.Module:
    """Build a block of this package or of the user at a width."""
    if is_user_block(block):
        return user_block(block, folders).build(width)
    return INSERTABLE[block](width, width)


def count_parameters(module: nn.Module) -> int:
    """Count the numbers that are trained."""
    return sum(parameter.numel() for parameter in module.parameters())


def has_parameters(block: str, folders: Sequence[str] = ()) -> bool:
    """Return whether a block has any parameter; True if it cannot be built at usual widths."""
    for width in (64, 128, 256, 512):
        try:
            with torch.random.fork_rng(devices=[]):
                return count_parameters(build_block(block, width, folders)) > 0
        except ValueError:
            continue
    return True


def extra_parameters(model: str, baseline: str, num_classes: int | None = None) -> int:
    """Count how many parameters a model has more than another, at the same number of classes."""
    with torch.random.fork_rng(devices=[]):
        counts = [_count(config_of(name), num_classes) for name in (model, baseline)]
    return counts[0] - counts[1]


def config_of(model: str | Path) -> Config:
    """Return the configuration of a checkpoint, or of a model by name or file."""
    if Path(model).suffix == ".pt":
        return deepcopy(CheckedModel(model).model.yaml)
    return model_config(model)


def _count(config: Config, num_classes: int | None) -> int:
    if num_classes is not None:
        config = {**config, "nc": num_classes}
    channels = config.get("channels", config.get("ch", 3))
    rows, _ = tasks.parse_model(deepcopy(config), ch=channels, verbose=False)
    return count_parameters(rows)
