# SPDX-License-Identifier: AGPL-3.0-only
"""Parameters and GFLOPs of the packaged models, as `mlla models` lists them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlla.yolo.model import YOLO

DETECTOR_SIZE_PX, CLASSIFIER_SIZE_PX = 640, 224
# cost is linear in the number of pixels, so a small image of whole strides tells it
_MEASURED_SIZE_PX = 160


def model_facts(name: str) -> dict[str, Any]:
    """Build a packaged YOLO and count.

    Args:
        name: A name that `model_names` yields.

    Returns:
        The fields of a row of `mlla models`: name, task, parameters, gflops (two per
        multiply-accumulate, at `size_px`) and size_px.
    """
    model = YOLO(name)
    if model.task == "classify":
        gflops, size_px = count_gflops(model.model, CLASSIFIER_SIZE_PX), CLASSIFIER_SIZE_PX
    else:
        scale = (DETECTOR_SIZE_PX / _MEASURED_SIZE_PX) ** 2
        gflops, size_px = scale * count_gflops(model.model, _MEASURED_SIZE_PX), DETECTOR_SIZE_PX
    return {
        "name": name,
        "task": model.task,
        "parameters": sum(parameter.numel() for parameter in model.model.parameters()),
        "gflops": round(gflops, 2),
        "size_px": size_px,
    }


def count_gflops(model: nn.Module, size_px: int) -> float:
    """Count with torch's counter: convolutions and matrix products of one square image.

    Args:
        model: A network that takes (1, 3, size_px, size_px).
        size_px: Height and width.

    Returns:
        Billions of floating point operations, two per multiply-accumulate.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(torch.zeros(1, 3, size_px, size_px))
    return counter.get_total_flops() / 1e9
