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

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.utils import LOGGER

from mlla.yolo.activation import own_activation
from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.config import model_config
from mlla.yolo.control_rows import (
    CONVOLUTION_LIKE,
    TOLERANCE,
    PlainConvolutions,
    match_parameters,
)
from mlla.yolo.expand import Config
from mlla.yolo.rows import INSERTABLE
from mlla.yolo.user_block import check_user_block, is_user_block, user_block


def convolution_like(block: str) -> str:
    """Return the name of the convolutions that control for a block or a model."""
    return f"{CONVOLUTION_LIKE}{'_' if block in INSERTABLE else ':'}{block}"


def imitated(block: str) -> str | None:
    """Return the block or model whose parameters convolutions match; None for other blocks."""
    rest = block.removeprefix(CONVOLUTION_LIKE)
    is_control = rest != block and (block in INSERTABLE or rest.startswith(":"))
    return rest[1:] if is_control else None


def resolved(block: str, folders: Sequence[str] = ()) -> tuple[str, str]:
    """Import the class that a name contains, if any, and name it by its module.

    Args:
        block: A name of one of the forms.
        folders: What to put at the end of the search path first.

    Returns:
        The name as configurations have it, and the folder of the class, or "".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the name has none of the forms, or the class cannot be imported.
    """
    inner = imitated(block) or block
    if is_user_block(inner):
        found = user_block(inner, folders)
        return block.removesuffix(inner) + found.name, found.folder
    if inner not in INSERTABLE and inner == block:
        raise ValueError(
            f"block={block!r} is unknown; choose from {list(INSERTABLE)}, or name a class of "
            "yours as FILE.py:Class"
        )
    return block, ""


def folder_of(block: str) -> str:
    """Return the folder that a checkpoint with a block needs on the search path, or ""."""
    return resolved(block)[1] if imitated(block) is None else ""


def name_in_row(block: str) -> str:
    """Return how a row of a configuration names a block: so that Ultralytics evaluates nothing.

    A class of the user is "package.module.Class"; what convolutions imitate is for readers only.
    """
    return re.sub(r"\W+", "_", block) if imitated(block) else block.replace(":", ".")


def block_arguments(
    block: str, config: Config, widths: Mapping[int, int], gate: str
) -> dict[int, list[int]]:
    """Find what a block needs besides the width where it is inserted.

    Args:
        block: A name as configurations have it.
        config: The model that it goes into.
        widths: Row to the number of channels behind it.
        gate: "zero" or "none".

    Returns:
        Row to further arguments of `Inserted`: none, or the form of the convolutions.

    Raises:
        ValueError: If a class of the user does not fit, or there are no parameters to match.
    """
    inner = imitated(block)
    if inner is None:
        if is_user_block(block):
            check_user_block(user_block(block), sorted(set(widths.values())))
        return {row: [] for row in widths}
    if inner in INSERTABLE or is_user_block(inner):
        wanted = {row: _parameters_at(inner, width) for row, width in widths.items()}
    else:
        extra = extra_parameters(inner, config)
        if gate == "zero":
            extra -= sum(widths.values())
        if extra <= 0:
            raise ValueError(
                f"block={block!r}: {inner} does not have more parameters than this model, so there "
                "is nothing for convolutions to match"
            )
        # parameters of blocks that mix channels grow with the square of the width
        squares = sum(width**2 for width in widths.values())
        wanted = {row: round(extra * width**2 / squares) for row, width in widths.items()}
    found = {row: match_parameters(wanted[row], widths[row]) for row in widths}
    for row, form in found.items():
        with torch.random.fork_rng(devices=[]):
            count = _count(PlainConvolutions(widths[row], widths[row], *form))
        if abs(count - wanted[row]) > TOLERANCE * wanted[row]:
            LOGGER.warning(
                f"{block}: plain convolutions behind row {row} have {count:,} parameters, which is "
                f"the closest there is to {wanted[row]:,}"
            )
    return {row: list(form) for row, form in found.items()}


def extra_parameters(model: str, baseline: str | Config) -> int:
    """Count how many parameters a model has more than another, for the classes of the other."""
    other = config_of(baseline) if isinstance(baseline, str) else baseline
    config = {**config_of(model), "nc": other["nc"]}
    return _parameters_of(config) - _parameters_of(other)


def has_parameters(block: str) -> bool:
    """Return whether a block has any; True if it cannot be built at usual widths."""
    for width in (64, 128, 256, 512):
        try:
            return _parameters_at(block, width) > 0
        except ValueError:
            continue
    return True


def config_of(model: str | Path) -> Config:
    """Return the configuration of a checkpoint, or of a model by name or file."""
    path = Path(model)
    if path.suffix == ".pt":
        return deepcopy(CheckedModel(path).model.yaml)
    return model_config(path if path.suffix else path.with_name(f"{path.name}.yaml"))


def _parameters_at(block: str, width: int) -> int:
    with torch.random.fork_rng(devices=[]):
        if is_user_block(block):
            return _count(user_block(block).build(width))
        return _count(INSERTABLE[block](width, width))


def _parameters_of(config: Config) -> int:
    config = deepcopy(config)
    channels = config.get("channels", config.get("ch", 3))
    with torch.random.fork_rng(devices=[]), own_activation():
        return _count(tasks.parse_model(config, ch=channels, verbose=False)[0])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
