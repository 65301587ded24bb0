# SPDX-License-Identifier: AGPL-3.0-only
"""The authors' Mamba-YOLO weights under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mlla.yolo.model import YOLO

# parts of HZAI-ZJNU/Mamba-YOLO @b26cbda and what we call them, each within the part around it
_SCAN = {
    "in_proj": "input_projection",
    "conv2d": "local_mixing",
    "x_proj_weight": "scan.x_proj_weight",
    "dt_projs_weight": "scan.dt_proj_weight",
    "dt_projs_bias": "scan.dt_proj_bias",
    "A_logs": "scan.A_log",
    "Ds": "scan.D",
    "out_norm": "scan_norm",
    "out_proj": "output_projection",
}
_BLOCK = {
    "proj_conv.0": "project.projection",
    "proj_conv.1": "project.norm",
    "in_proj.0": "project.projection",
    "in_proj.1": "project.norm",
    "lsblock.fc1": "local_spatial.neighbours",
    "lsblock.norm": "local_spatial.norm",
    "lsblock.fc2": "local_spatial.expand",
    "lsblock.fc3": "local_spatial.contract",
    "norm.norm": "scan_norm",
    "norm2.norm": "mlp_norm",
    "mlp.fc1": "mlp.expand",
    "mlp.dwconv": "mlp.neighbours",
    "mlp.fc2": "mlp.contract",
}
_ROW = {
    "conv.0": "stem.reduce_to_half",
    "conv.1": "stem.half_norm",
    "conv.3": "stem.reduce_to_quarter",
    "conv.4": "stem.quarter_norm",
    "pw_linear.0": "downsample.merge.projection",
    "pw_linear.1": "downsample.merge.norm",
}
# 1x1 convolutions there, linear layers here
_LINEAR = re.compile(r"\.(\w*projection|expand|contract)\.weight$")


def load_mamba_yolo(model: YOLO, state_dict: Mapping[str, Any]) -> None:
    """Load weights that the authors of Mamba-YOLO trained, completely or not at all.

    Their files are pickles of their own classes. Take the state dict out where their package is
    installed: `torch.save(torch.load("best.pt")["model"].state_dict(), "weights.pt")`. Training
    afterwards starts from these weights.

    Args:
        model: `YOLO("mamba-yolo-t")`, or another scale or number of classes that the weights fit.
        state_dict: State of the authors' detector, its names beginning with `model.0.`.

    Raises:
        ValueError: If it is no state dict, or anything is missing, unexpected or of another shape.
            The message lists every name, and the model is unchanged.
    """
    foreign = [name for name, tensor in state_dict.items() if not isinstance(tensor, Tensor)]
    if foreign or not all(re.match(r"model\.\d+\.", name) for name in state_dict):
        names = ", ".join(map(str, foreign or list(state_dict)[:5]))
        raise ValueError(
            f"state_dict holds {names}, but must hold tensors called model.0.conv.0.weight and so "
            'on; take it from the authors\' file with torch.load("best.pt")["model"].state_dict()'
        )
    published = rename_mamba_yolo(state_dict)
    network: nn.Module = model.model
    target = network.state_dict()
    counters = {name for name in {*target, *published} if name.endswith("num_batches_tracked")}
    faults = [f"missing: {name}" for name in target if name not in {*published, *counters}]
    for name, tensor in published.items():
        if name not in target and name not in counters:
            faults.append(f"unexpected: {name}")
        elif name in target and tensor.shape != target[name].shape:
            faults.append(
                f"wrong shape: {name} is {tuple(tensor.shape)} in the file and "
                f"{tuple(target[name].shape)} in the model"
            )
    if faults:
        listing = "\n  ".join(faults)
        raise ValueError(
            f"these weights do not fit the model, nothing was loaded:\n  {listing}\n"
            "Build the scale (t, b, l) and the number of classes that they were trained for"
        )
    network.load_state_dict(published, strict=False)
    # tells YOLO.train to start from these weights
    model.load(network)


def rename_mamba_yolo(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the state of the authors' detector under our names and into our shapes.

    Args:
        state_dict: Tensors whose names begin with `model.` and a row number.

    Returns:
        The same numbers; tensors of stock rows as they are.
    """
    neck = {name.split(".")[1] for name in state_dict if ".ss2d." in name}
    renamed = {}
    for name, tensor in state_dict.items():
        prefix, row, rest = name.split(".", 2)
        ours = f"{prefix}.{row}.{_rename_in_row(rest, is_neck=row in neck)}"
        renamed[ours] = _reshaped(ours, tensor)
    return renamed


def rename_in_block(name: str) -> str:
    """Return our name for a parameter of their VSSBlock (our ODSSBlock) or XSSBlock."""
    if scan := re.match(r"op\.|ss2d\.(\d+)\.", name):
        ours = "scan" if scan[1] is None else f"scans.{scan[1]}"
        return f"{ours}.{rename_in_scan(name[scan.end() :])}"
    return _rename(name, _BLOCK)


def rename_in_scan(name: str) -> str:
    """Return our name for a parameter of their SS2D (our MambaYOLOSS2D)."""
    return _rename(name, _SCAN)


def _rename_in_row(name: str, *, is_neck: bool) -> str:
    # a row of several blocks is a list, one of a single block is the block
    number, bare = re.match(r"(?:(\d+)\.)?(.*)", name).groups()  # type: ignore[union-attr]
    block = rename_in_block(bare)
    if block != bare:
        return f"block.{block}" if is_neck else f"blocks.{number or 0}.{block}"
    return _rename(name, _ROW)


def _rename(name: str, parts: Mapping[str, str]) -> str:
    for theirs, ours in parts.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name[len(theirs) :]
    return name


def _reshaped(name: str, tensor: Tensor) -> Tensor:
    if name.endswith((".scan.A_log", ".scan.D")):
        return tensor.unflatten(0, (4, -1))
    if _LINEAR.search(name) and tensor.dim() == 4:
        return tensor.flatten(1)
    return tensor
