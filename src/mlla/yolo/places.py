# SPDX-License-Identifier: AGPL-3.0-only
"""The places of a detector where a block can be inserted, and how wide the maps are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mlla.yolo.expand import Config, rows_of


def find_places(config: Config, at: str | int | Sequence[int]) -> tuple[list[int], bool]:
    """Find the rows to insert behind.

    Args:
        config: Configuration of the detector.
        at: "neck", "p5" or row numbers, as `plug` takes them.

    Returns:
        The rows, and whether only the head reads the new ones.

    Raises:
        ValueError: If there is no such place.
    """
    head = len(rows_of(config)) - 1
    if at == "neck":
        sources = config["head"][-1][0]
        sources = sources if isinstance(sources, list) else [sources]
        rows = sorted({row if row >= 0 else head + row for row in sources})
        if len(config["head"]) == 1:
            raise ValueError("at='neck': this model has no neck; use at='p5' or row numbers")
        return rows, True
    if at == "p5":
        return [len(config["backbone"]) - 1], False
    if isinstance(at, str):
        if not all(part.strip().isdigit() for part in at.split(",")):
            raise ValueError(f"at={at!r} is unknown; choose 'neck', 'p5' or row numbers like 4,6,9")
        rows = [int(part) for part in at.split(",")]
    else:
        rows = [at] if isinstance(at, int) else list(at)
    bad = [row for row in rows if not 0 <= row < head]
    if bad or not rows or len(set(rows)) < len(rows):
        raise ValueError(
            f"at={at!r}: rows must be different numbers from 0 to {head - 1}, before the head"
        )
    return sorted(rows), False


def measure_widths(network: Any, places: Sequence[int]) -> dict[int, int]:
    """Measure the channels behind rows with one small forward pass.

    Args:
        network: A detector of Ultralytics; its modes are left as they are.
        places: Rows.

    Returns:
        Row to number of channels.

    Raises:
        ValueError: If a row returns anything else than one map.
    """
    outputs: dict[int, object] = {}
    hooks = [
        network.model[place].register_forward_hook(
            lambda _module, _inputs, output, place=place: outputs.update({place: output})
        )
        for place in places
    ]
    parameter = next(network.parameters())
    channels = network.yaml.get("channels", network.yaml.get("ch", 3))
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            # older decoders of RT-DETR want at least 300 places
            network.eval()(parameter.new_zeros(1, channels, 128, 128))
    finally:
        for module, training in modes.items():
            module.training = training
        for hook in hooks:
            hook.remove()
    widths = {}
    for place in places:
        output = outputs[place]
        if not isinstance(output, torch.Tensor) or output.dim() != 4:
            raise ValueError(
                f"at={place}: row {place} ({network.model[place].type}) does not return one "
                "feature map; choose a row that does"
            )
        widths[place] = output.shape[1]
    return widths
