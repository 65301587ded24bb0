"""Eight-bit forms of networks, calibrated with images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mlla.export.network_files import INPUT_NAME
from mlla.export.silence import silent

_WEIGHTED = ("Conv", "Gemm", "MatMul")
# as OpenVINO calls them, with what is no operation
_QUANTISED_KINDS = {"Convolution", "GroupConvolution", "MatMul", "Constant", "Parameter", "Result"}


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
    """Quantise a model of OpenVINO by NNCF: convolutions and linear layers.

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
        subset_size=len(batches),
        ignored_scope=_with_all_else(nncf.IgnoredScope(), model),
    )


@contextmanager
def nncf_for_linear_attention() -> Iterator[None]:
    """Let whoever calls NNCF in the meantime quantise convolutions and linear layers alone.

    Of eight-bit sums, products of activations and Smooth Quant (`ModelType.TRANSFORMER`) in linear
    attention, OpenVINO 2026.4 runs some at one size only, some not in bfloat16, in which it
    computes unasked on processors that have it, and some not at all.
    """
    nncf: Any = import_module("nncf")
    original = nncf.quantize

    def quantize(model: Any, calibration_dataset: Any, **options: Any) -> Any:
        scope = options.get("ignored_scope") or nncf.IgnoredScope()
        options |= {"ignored_scope": _with_all_else(scope, model), "model_type": None}
        return original(model, calibration_dataset, **options)

    nncf.quantize = quantize
    try:
        yield
    finally:
        nncf.quantize = original


def _with_all_else(scope: Any, model: Any) -> Any:
    """Add to what NNCF is to ignore all that is no convolution and no linear layer."""
    operations = model.get_ops()
    kinds = {operation.get_type_name() for operation in operations} - _QUANTISED_KINDS
    products = [
        operation.get_friendly_name()
        for operation in operations
        if operation.get_type_name() == "MatMul" and not _has_weight(operation)
    ]
    types, names = [*scope.types, *sorted(kinds)], [*scope.names, *products]
    return replace(scope, types=types, names=names, validate=False)


def _has_weight(product: Any) -> bool:
    source = product.input(1).get_source_output().get_node()
    while source.get_type_name() in ("Convert", "Reshape", "Transpose"):
        source = source.input(0).get_source_output().get_node()
    return bool(source.get_type_name() == "Constant")


def _reader(base: Any, images: Iterable[np.ndarray]) -> Any:
    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.images: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next batch, or None at the end."""
            batch = next(self.images, None)
            return None if batch is None else {INPUT_NAME: batch}

    return Reader()
