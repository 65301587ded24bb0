# SPDX-License-Identifier: AGPL-3.0-only
"""Parameters and GFLOPs of the packaged models, as `mlla models` lists them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.nn import tasks
from ultralytics.utils.torch_utils import get_flops

from mlla.yolo.config import model_config

DETECTOR_SIZE_PX, CLASSIFIER_SIZE_PX = 640, 224


class _Rows(nn.Module):
    """A network from its rows, without the forward passes that building a model costs."""

    def __init__(self, rows: nn.Sequential) -> None:
        super().__init__()
        self.rows = rows

    def forward(self, x: Tensor) -> Any:
        """Send every row what it reads."""
        outputs: list[Any] = []
        for row in self.rows:
            sources: Any = row.f
            several = isinstance(sources, list)
            # the image is row -1 of row 0
            inputs = [outputs[n] if outputs else x for n in (sources if several else [sources])]
            outputs.append(row(inputs if several else inputs[0]))
        return outputs[-1]


def model_facts(name: str) -> dict[str, Any]:
    """Count the parameters and operations of a packaged model, without its weights.

    Args:
        name: A name that `model_names` yields.

    Returns:
        The fields of a row of `mlla models`: name, task, parameters, gflops (two per
        multiply-accumulate, at `size_px`) and size_px.
    """
    config = model_config(name)
    is_rtdetr = config["head"][-1][2] == "RTDETRDecoder"
    task = "detect" if is_rtdetr else tasks.guess_model_task(config)
    with torch.device("meta"):
        rows, _ = tasks.parse_model(config, ch=3, verbose=False)
    size_px = CLASSIFIER_SIZE_PX if task == "classify" else DETECTOR_SIZE_PX
    return {
        "name": name,
        "task": task,
        "parameters": sum(parameter.numel() for parameter in rows.parameters()),
        "gflops": round(count_gflops(_Rows(rows), size_px), 2),
        "size_px": size_px,
    }


def count_gflops(model: nn.Module, size_px: int) -> float:
    """Count with torch's counter: convolutions, matrix products and scans of one square image.

    Nothing is computed: a copy of the network runs on the meta device, at the true size,
    since the cost of softmax attention is not linear in the number of pixels.

    Args:
        model: A network that takes (1, 3, size_px, size_px).
        size_px: Height and width.

    Returns:
        Billions of floating point operations, two per multiply-accumulate.
    """
    shadow = deepcopy(model).eval()
    for module in shadow.modules():
        if isinstance(stride := getattr(module, "stride", None), Tensor):
            # decoding boxes reads these numbers, which changes no count
            module.stride = [1.0] * len(stride)  # type: ignore[assignment]
        for kept in ("shape", "shapes"):
            if hasattr(module, "anchors") and hasattr(module, kept):
                # anchors of an earlier pass would stay on its device
                setattr(module, kept, None)
    # that of nn.Module, since Ultralytics' own expects the tensor that was just replaced
    nn.Module._apply(shadow, lambda tensor: tensor.to("meta"))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        shadow(torch.zeros(1, 3, size_px, size_px, device="meta"))
    return counter.get_total_flops() / 1e9


def printed_gflops(model: nn.Module, size_px: int) -> float | None:
    """Count as Ultralytics prints it: by the kinds of modules it knows, nothing for the others.

    Args:
        model: A network that takes (1, 3, size_px, size_px).
        size_px: Height and width.

    Returns:
        Billions of floating point operations, or None where Ultralytics cannot tell.
    """
    return get_flops(model, imgsz=size_px) or None
