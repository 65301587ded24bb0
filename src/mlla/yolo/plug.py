# SPDX-License-Identifier: AGPL-3.0-only
"""Insert a block into a finished detector and keep every weight of it."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.engine.model import Model
from ultralytics.nn.modules import Conv
from ultralytics.utils import LOGGER

from mlla.yolo.activation import own_activation
from mlla.yolo.block_names import block_arguments, name_in_row, resolved
from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.expand import Config, insert_after, insert_before_head
from mlla.yolo.model import YOLO
from mlla.yolo.places import find_places, measure_widths
from mlla.yolo.rows import Inserted
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
        block: "mlla" or "multiscale_attention"; or "FILE.py:Class" or "package.module:Class", a
            class that is called with the width alone and keeps the shape of a map (B, C, H, W). Or
            a control: "identity", which has no gate, and "conv_like_mlla",
            "conv_like_multiscale_attention", "conv_like:FILE.py:Class", plain convolutions of as
            many parameters; "conv_like:yolov8n-mlla", of as many as that model has more.
        at: "neck", between each row that the head reads and the head; "p5", after the deepest row
            of the backbone; or the numbers of rows, after each of which the block goes.
        gate: "zero", a gate per channel that starts at 0, or "none".

    Returns:
        A new model with the block, a `YOLO` or, where the head is that of RT-DETR, an `RTDETR`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the block or gate is unknown, there is no such place, the block does not fit
            the width there, or the model was fused.
    """
    block, _ = resolved(block)
    original = YOLO(model) if isinstance(model, str | Path) else model
    if not isinstance(original.model, nn.Module):
        raise ValueError(f"model={model!r} is an exported file; plug needs the .pt or the YAML")
    network: Any = original.model
    # is_fused() of Ultralytics counts norms, and takes any small network for a fused one
    if any(isinstance(module, Conv) and not hasattr(module, "bn") for module in network.modules()):
        raise ValueError("the model is fused for inference; load it again and plug before fuse()")
    extended, row_map = plugged_config(network, block, at, gate)
    result = rebuilt(original, extended)
    kept = rename_rows(network.state_dict(), row_map)
    missing, unexpected = result.model.load_state_dict(kept, strict=False)
    rows = set(row_map.values())
    lost = [*unexpected, *(n for n in missing if int(n.split(".")[1]) in rows)]
    if lost:
        raise ValueError(
            "this checkpoint was built by another version of ultralytics, whose rows have other "
            f"weights; {len(lost)} tensors do not fit: {', '.join(lost[:5])}"
        )
    places = extended["plug"]["rows"]
    LOGGER.info(f"plug: kept {len(kept)} of {len(kept)} tensors, {block} after rows {places}")
    return result


def plugged_config(
    network: Any, block: str, at: str | int | Sequence[int], gate: str
) -> tuple[Config, dict[int, int]]:
    """Extend the configuration of a network by a block.

    Args:
        network: A network of Ultralytics, whose widths are measured.
        block: A name as `block_names.resolved` returns it.
        at: See `plug`.
        gate: See `plug`.

    Returns:
        The new configuration, and the new number of every row of the network.

    Raises:
        ValueError: If there is no such place or the block does not fit.
    """
    config = network.yaml
    # a gate in front of nothing would never learn
    gate = "none" if block == "identity" else gate
    places, before_head = find_places(config, at)
    widths = measure_widths(network, places)
    arguments = block_arguments(block, config, widths, gate)
    inserted: dict[int, list[Any]] = {}
    for place, width in widths.items():
        row = [width, width, name_in_row(block), gate, *arguments[place]]
        inserted[place] = [1, Inserted.__name__, row]
    insert = insert_before_head if before_head else insert_after
    extended, row_map = insert(config, inserted)
    label = at if isinstance(at, str) else "-".join(map(str, places))
    name = Path(config.get("yaml_file") or "model.yaml").stem
    extended["yaml_file"] = f"{name}-{_short(block)}-{label}.yaml"
    extended["plug"] = {"block": block, "rows": places, "gate": gate}
    return extended, row_map


def _short(block: str) -> str:
    """Name a block in the name of a file: by its class or model, without folders."""
    source, _, name = block.rpartition(":")
    return ("conv_like_" if source.startswith("conv_like") else "") + Path(name).stem


def rebuilt(original: Model, config: Config) -> CheckedModel:
    """Return a model like another around a new, untrained network.

    Args:
        original: A model of Ultralytics, which is left as it is.
        config: Configuration of the network.

    Returns:
        A `YOLO` or, where the head is that of RT-DETR, an `RTDETR`.
    """
    network: Any = original.model
    with own_activation():
        built: Any = type(network)(deepcopy(config), verbose=False)
    built.train(network.training)
    same_classes = config.get("nc") == network.yaml.get("nc")
    for name in ("args", "task", "stride", *(("nc", "names") if same_classes else ())):
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
    result.cfg = result.model_name = config.get("yaml_file", "model.yaml")
    return result
