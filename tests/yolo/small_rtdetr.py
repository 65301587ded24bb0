"""RT-DETRs with the rows of the real ones and a sixteenth of their width in parameters."""

from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torch import Tensor

from mlla.yolo import model_config

SHRINKING = 4
# the smallest width of a row; smaller numbers are strides, sizes of kernels and repeats
SMALLEST_WIDTH = 32
# hidden width, queries, points, heads, layers, width of the MLP
SMALL_DECODER = [64, 60, 4, 8, 2, 128]


def small_config(name: str) -> dict[str, Any]:
    """Return a packaged or stock RT-DETR by name, made narrow and shallow."""
    config = model_config(f"{name}.yaml")
    config["scales"] = {"l": [0.33, 1.0, 1024]}
    for row in (*config["backbone"], *config["head"]):
        row[3] = [_narrow(argument) for argument in row[3]]
    config["head"][-1][3] += SMALL_DECODER
    return config


def _narrow(argument: object) -> object:
    is_width = isinstance(argument, int) and argument >= SMALLEST_WIDTH
    return argument // SHRINKING if is_width else argument


def small_file(folder: Path, name: str) -> Path:
    """Write a small RT-DETR as a YAML file of the name it has at full size."""
    file = folder / f"{name}.yaml"
    config = small_config(name)
    file.write_text(yaml.safe_dump({key: config[key] for key in _KEYS}))
    return file


_KEYS = ("nc", "scales", "backbone", "head")


def small_checkpoint(folder: Path, name: str) -> Path:
    """Save a small stock RT-DETR as a .pt, as if it were a published one."""
    torch.manual_seed(0)
    model = ultralytics.RTDETR(small_file(folder, name))
    # as after training: statistics and weights differ from their initial ones
    with torch.no_grad():
        for tensor in model.model.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.01 * torch.rand_like(tensor))
    model.ckpt = {"train_args": {"task": "detect"}}
    file = folder / f"{name}.pt"
    model.save(file)
    return file


def outputs(model: Any, x: Tensor) -> list[Tensor]:
    """Return every tensor that the network returns, in evaluation mode and float32."""

    def flatten(output: object) -> list[Tensor]:
        if output is None or isinstance(output, Tensor):
            return [] if output is None else [output]
        children = output.values() if isinstance(output, dict) else output
        return [tensor for child in children for tensor in flatten(child)]

    with torch.no_grad():
        return flatten(model.model.float().eval()(x))
