"""Run exported files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlla.export.silence import silent

# images in, every output in its order
Run = Callable[[np.ndarray], list[np.ndarray]]


def open_network(network: nn.Module) -> Run:
    """Return a call of a network of PyTorch, which must be in evaluation mode."""

    def run(images: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            return arrays(network(torch.from_numpy(images)))

    return run


def open_file(file: Path, format_name: str) -> Run:
    """Open an exported file, to run in float32 on as many threads as PyTorch uses.

    Args:
        file: The file, or the folder of OpenVINO.
        format_name: A name in `formats.CHECKED`.

    Raises:
        KeyError: If files of the format are not run here.
    """
    openers = {
        "onnx": _open_onnx,
        "openvino": open_openvino,
        "torchscript": _open_torchscript,
        "torch_export": _open_torch_export,
    }
    return openers[format_name](file)


def arrays(output: Any) -> list[np.ndarray]:
    """Return every tensor of nested outputs, in order."""
    if isinstance(output, Tensor):
        return [output.numpy()]
    parts = output.values() if isinstance(output, dict) else output
    return [array for part in parts for array in arrays(part)]


def _open_onnx(file: Path) -> Run:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # threads that wait in a loop would slow PyTorch, which is measured in turns with this
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # warnings of other sizes than the traced ones: open sizes are the point
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    # files with 16-bit numbers that were traced on a GPU take them, too
    kind = np.float16 if entry.type == "tensor(float16)" else np.float32
    return lambda images: session.run(None, {entry.name: images.astype(kind, copy=False)})


def openvino_default() -> str:
    """Return what OpenVINO computes float32 networks in here unless asked, such as "bfloat16"."""
    openvino: Any = import_module("openvino")
    return str(openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string())


def open_openvino(file: Path, *, exact: bool = True) -> Run:
    """Open a folder of OpenVINO.

    Args:
        file: The folder.
        exact: Ask for float32, where processors with bfloat16 would round to it unasked.
    """
    openvino: Any = import_module("openvino")
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        **({"INFERENCE_PRECISION_HINT": "f32"} if exact else {}),
    }
    compiled = core.compile_model(core.read_model(next(file.glob("*.xml"))), "CPU", settings)
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> list[np.ndarray]:
        found = request.infer([images])
        return [np.array(found[output]) for output in compiled.outputs]

    return run


def _open_torchscript(file: Path) -> Run:
    # deprecated in PyTorch, and still what Ultralytics exports to
    with silent():
        return open_network(torch.jit.load(str(file), map_location="cpu").eval())


def _open_torch_export(file: Path) -> Run:
    return open_network(torch.export.load(str(file)).module())
