"""Write networks of PyTorch to files, with open sizes if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mlla.export.silence import silent

INPUT_NAME = "images"
OPSET = 18
# of images in PyTorch: batch, channels, height, width
_OPEN = (0, 2, 3)
_SIZE_NAMES = {0: "batch", 2: "height", 3: "width"}


def write_onnx(
    network: nn.Module, image: Tensor, file: Path, dynamic: bool, *, opset: int = OPSET
) -> Path:
    """Trace a network to ONNX.

    Args:
        network: In evaluation mode.
        image: What it is traced with.
        file: Where to.
        dynamic: Whether batch, height and width stay open.
        opset: Version of the operators.
    """
    outputs = _outputs(network, image)
    names = [f"output{index}" for index in range(len(outputs))]
    axes = {INPUT_NAME: _SIZE_NAMES} | {
        name: {0: "batch"} | ({2: f"{name}_height", 3: f"{name}_width"} if output.ndim == 4 else {})
        for name, output in zip(names, outputs, strict=True)
    }
    with silent(), torch.no_grad():
        torch.onnx.export(
            network,
            (image,),
            str(file),
            input_names=[INPUT_NAME],
            output_names=names,
            dynamic_axes=axes if dynamic else None,
            opset_version=opset,
            dynamo=False,
        )
    return file


def write_torchscript(network: nn.Module, image: Tensor, file: Path) -> Path:
    """Trace a network to TorchScript; sizes stay open."""
    _trace(network, image).save(str(file))
    return file


def write_program(
    network: nn.Module, image: Tensor, file: Path, open_sizes: Sequence[int] | None = _OPEN
) -> Path:
    """Record a network by torch.export.

    Args:
        network: In evaluation mode.
        image: What it is recorded with; open sizes must be more than 1 in it.
        file: Where to.
        open_sizes: Dimensions of the images that stay open.
    """
    shapes = open_sizes and dict.fromkeys(open_sizes, torch.export.Dim.DYNAMIC)
    with silent(), torch.no_grad():
        program = torch.export.export(
            network, (image,), dynamic_shapes=(shapes,) if shapes else None
        )
        torch.export.save(program, str(file))
    return file


def openvino_model(network: nn.Module, image: Tensor, dynamic: bool) -> Any:
    """Trace a network and convert it to a model of OpenVINO, in memory."""
    openvino: Any = import_module("openvino")
    shape = [-1 if dynamic and size in _OPEN else length for size, length in enumerate(image.shape)]
    with silent():
        return openvino.convert_model(_trace(network, image), input=shape, example_input=image)


def write_openvino(model: Any, folder: Path, name: str) -> Path:
    """Write a model of OpenVINO, in the precision that it has.

    Args:
        model: The model.
        folder: Where to; it gets NAME.xml and NAME.bin.
        name: Name of both.
    """
    openvino: Any = import_module("openvino")
    openvino.save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)
    return folder


def _trace(network: nn.Module, image: Tensor) -> Any:
    with silent(), torch.no_grad():
        return torch.jit.trace(network, image, strict=False, check_trace=False)


def _outputs(network: nn.Module, image: Tensor) -> list[Tensor]:
    with torch.no_grad():
        output = network(image)
    if isinstance(output, Tensor):
        return [output]
    return list(output.values() if isinstance(output, dict) else output)
