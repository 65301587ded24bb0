"""Eight-bit forms of networks, calibrated with images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mlla.export.network_files import INPUT_NAME
from mlla.export.silence import silent

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def quantize_onnx(source: Path, target: Path, images: Iterable[np.ndarray]) -> Path:
    """Quantise an ONNX file by ONNX Runtime: convolutions and linear layers.

    Products of two activations, which linear attention consists of, stay in float32: their ranges
    differ from image to image.

    Args:
        source: The file in float32.
        target: Where to.
        images: What ranges of activations are measured on.

    Raises:
        ValueError: If there is no image.
    """
    onnx: Any = import_module("onnx")
    quantization: Any = import_module("onnxruntime.quantization")
    graph = onnx.load(str(source)).graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    exact = [
        node.name
        for node in graph.node
        if node.op_type not in _WEIGHTED or not weights.intersection(node.input)
    ]
    with silent():
        quantization.quantize_static(
            str(source),
            str(target),
            _reader(quantization.CalibrationDataReader, images),
            nodes_to_exclude=exact,
            per_channel=True,
        )
    return target


def quantize_openvino(model: Any, images: Iterable[np.ndarray]) -> Any:
    """Quantise a model of OpenVINO by NNCF.

    Args:
        model: The model in float32.
        images: What ranges of activations are measured on.
    """
    nncf: Any = import_module("nncf")
    batches = list(images)
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(batches),
    )


def _reader(base: Any, images: Iterable[np.ndarray]) -> Any:
    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next batch, or None at the end."""
            batch = next(self.images, None)
            return None if batch is None else {INPUT_NAME: batch}

    return Reader()
