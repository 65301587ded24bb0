# SPDX-License-Identifier: AGPL-3.0-only
"""Insert a block into a finished detector and keep every weight of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.engine.model import Model
from ultralytics.nn.modules import Conv
from ultralytics.utils import LOGGER

from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.expand import Config, insert_after, insert_before_head, rows_of
from mlla.yolo.model import YOLO
from mlla.yolo.rows import INSERTABLE
from mlla.yolo.rtdetr import RTDETR, is_rtdetr
from mlla.yolo.transfer import rename_rows


def plug(
    model: str | Path | Model,
    block: str = "mlla",
    *,
    at: str | int | Sequence[int] = "neck",
    gate: str = "zero",
) -> CheckedModel:
    """Insert a block and keep every tensor of the original.

    With `gate="zero"` the result computes what the original does, bit for bit, until it is
    trained. It trains, saves, reloads and exports like any other model.

    Args:
        model: A checkpoint, a YAML or packaged name, or a loaded model, which is left as it is.
        block: Name of the block: "mlla" or "multiscale_attention".
        at: "neck", between each row that the head reads and the head; "p5", after the deepest row
            of the backbone; or the numbers of rows, after each of which the block goes.
        gate: "zero", a gate per channel that starts at 0, or "none".

    Returns:
        A new model with the block, a `YOLO` or, where the head is that of RT-DETR, an `RTDETR`.

    Raises:
        ValueError: If the block or gate is unknown, there is no such place, the block does not fit
            the width there, or the model was fused.
    """
    if block not in INSERTABLE:
        raise ValueError(f"block={block!r} is unknown; choose from {sorted(INSERTABLE)}")
    original = YOLO(model) if isinstance(model, str | Path) else model
    if not isinstance(original.model, nn.Module):
        raise ValueError(f"model={model!r} is an exported file; plug needs the .pt or the YAML")
    network: Any = original.model
    # is_fused() of Ultralytics counts norms, and takes any small network for a fused one
    if any(isinstance(module, Conv) and not hasattr(module, "bn") for module in network.modules()):
        raise ValueError("the model is fused for inference; load it again and plug before fuse()")
    config = network.yaml
    places, before_head = _places(config, at)
    widths = _widths(network, places)
    inserted = {
        place: [1, "Inserted", [widths[place], widths[place], block, gate]] for place in places
    }
    insert = insert_before_head if before_head else insert_after
    extended, row_map = insert(config, inserted)
    label = at if isinstance(at, str) else "-".join(map(str, places))
    name = Path(config.get("yaml_file") or "model.yaml").stem
    extended["yaml_file"] = f"{name}-{block}-{label}.yaml"
    extended["plug"] = {"block": block, "rows": places, "gate": gate}
    result = _rebuild(original, extended)
    kept = rename_rows(network.state_dict(), row_map)
    missing, unexpected = result.model.load_state_dict(kept, strict=False)
    rows = set(row_map.values())
    lost = [*unexpected, *(n for n in missing if int(n.split(".")[1]) in rows)]
    if lost:
        raise ValueError(
            "this checkpoint was built by another version of ultralytics, whose rows have other "
            f"weights; {len(lost)} tensors do not fit: {', '.join(lost[:5])}"
        )
    LOGGER.info(f"plug: kept {len(kept)} of {len(kept)} tensors, {block} after rows {places}")
    return result


def _places(config: Config, at: str | int | Sequence[int]) -> tuple[list[int], bool]:
    """Return the rows to insert behind, and whether only the head reads the new rows."""
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


def _widths(network: Any, places: list[int]) -> dict[int, int]:
    """Measure the channels behind rows with one small forward pass."""
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


def _rebuild(original: Model, config: Config) -> CheckedModel:
    """Return a model like `original` around a new network."""
    network: Any = original.model
    built: Any = type(network)(deepcopy(config), verbose=False)
    built.train(network.training)
    for name in ("nc", "names", "args", "task", "stride"):
        if hasattr(network, name):
            setattr(built, name, deepcopy(getattr(network, name)))
    result = copy(original)
    result.__class__ = RTDETR if is_rtdetr(network) else YOLO
    # copy() shares these with the original
    result.__dict__["_modules"] = {**original._modules, "model": built}
    result.callbacks = {event: list(calls) for event, calls in original.callbacks.items()}
    result.overrides = dict(original.overrides)
    result.predictor = result.trainer = result.metrics = None
    result.ckpt, result.ckpt_path = {"model": built}, None
    result.cfg = result.model_name = config["yaml_file"]
    return result
