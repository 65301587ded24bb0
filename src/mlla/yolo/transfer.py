# SPDX-License-Identifier: AGPL-3.0-only
"""Weights from one network to another whose rows are numbered differently.

Ultralytics matches weights by names that contain the row number, so one inserted row makes it drop
the weights of everything behind. Here the rows are paired first.
"""

from __future__ import annotations

from collections import OrderedDict
from copy import copy
from typing import Any

from torch import Tensor, nn

from mlla.yolo.expand import Config, matching_rows


def rename_rows(state_dict: dict[str, Tensor], row_map: dict[int, int]) -> dict[str, Tensor]:
    """Rename `model.OLD.rest` to `model.NEW.rest`; tensors of rows without a partner are left out.

    Args:
        state_dict: State of a detector; every name starts with `model.` and a row number.
        row_map: Old row number to new row number.

    Returns:
        The renamed state.
    """
    renamed = {}
    for name, tensor in state_dict.items():
        prefix, row, rest = name.split(".", 2)
        if int(row) in row_map:
            renamed[f"{prefix}.{row_map[int(row)]}.{rest}"] = tensor
    return renamed


def aligned(weights: Any, target: Config) -> Any:
    """View a loaded model under the row numbers of another configuration.

    Args:
        weights: A model of Ultralytics with its `yaml`; others are returned as they are.
        target: Configuration of the model that will load the weights.

    Returns:
        A module that shares all weights with `weights` and whose names fit `target`.
    """
    config = getattr(weights, "yaml", None)
    if not isinstance(config, dict):
        return weights
    row_map = matching_rows(config, target)
    rows = OrderedDict(
        (str(new), weights.model[old])
        for old, new in sorted(row_map.items(), key=lambda pair: pair[1])
    )
    view = copy(weights)
    # copy() shares the dict of submodules with the original
    view.__dict__["_modules"] = {**weights._modules, "model": nn.Sequential(rows)}
    return view
