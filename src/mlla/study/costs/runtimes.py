"""Open a trained detector where it will be used: in torch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

# what each runtime needs beside torch
RUNTIMES: dict[str, tuple[str, ...]] = {
    "torch": (),
    "onnxruntime": ("onnx", "onnxruntime"),
    "openvino": ("openvino",),
}


def refuse_unknown(runtimes: Sequence[str]) -> None:
    """Raise a ValueError if a runtime is unknown."""
    for runtime in runtimes:
        if runtime not in RUNTIMES:
            raise ValueError(f"runtimes={runtime!r} is unknown; choose from {', '.join(RUNTIMES)}")


def check_runtimes(runtimes: Sequence[str]) -> None:
    """Check that the latency can be measured in these runtimes.

    Args:
        runtimes: "torch", "onnxruntime" or "openvino".

    Raises:
        ValueError: If a runtime is unknown.
        ModuleNotFoundError: If a package that it needs is not installed.
    """
    refuse_unknown(runtimes)
    for runtime in runtimes:
        missing = [name for name in RUNTIMES[runtime] if find_spec(name) is None]
        if missing:
            raise ModuleNotFoundError(
                f"runtimes={runtime!r} needs packages that are not installed: pip install "
                f"{' '.join(missing)}"
            )


def open_detector(
    runtime: str, checkpoint: Path, *, size_px: int, device: str, num_threads: int
) -> Callable[[], object]:
    """Open a detector as it is deployed: fused, on one square image.

    Args:
        runtime: "torch", "onnxruntime" or "openvino".
        checkpoint: The .pt file.
        size_px: Height and width of the image.
        device: "cpu" or "cuda".
        num_threads: Threads on a CPU.

    Returns:
        A call that finds the boxes of a fixed image once, before overlapping ones are dropped, and
        returns when that is done.

    Raises:
        ValueError: If the runtime is unknown.
        ModuleNotFoundError: If a package that it needs is not installed.
    """
    check_runtimes([runtime])
    image = np.random.default_rng(0).random((1, 3, size_px, size_px), dtype=np.float32)
    if runtime == "torch":
        return _open_torch(checkpoint, image, device)
    format_name = {"onnxruntime": "onnx", "openvino": "openvino"}[runtime]
    with tempfile.TemporaryDirectory() as folder:
        # the exporter writes beside the checkpoint, where a run folder must stay as it is
        copy = shutil.copy(checkpoint, folder)
        with _quiet():
            detector = _detector(Path(copy))
            exported = detector.export(format=format_name, imgsz=size_px, device="cpu")
        if runtime == "onnxruntime":
            return _open_onnxruntime(exported, image, device, num_threads)
        return _open_openvino(exported, image, num_threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's report of itself out of the progress of a study."""
    logger = logging.getLogger("ultralytics")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _detector(checkpoint: Path) -> Any:
    # ultralytics is not needed to score and compare
    from mlla.yolo import YOLO

    return YOLO(checkpoint)


def _open_torch(checkpoint: Path, image: np.ndarray, device: str) -> Callable[[], object]:
    import torch

    network = _detector(checkpoint).model.to(device).eval().fuse(verbose=False)
    pixels = torch.from_numpy(image).to(device)

    def run() -> object:
        with torch.inference_mode():
            found = network(pixels)
        if device == "cuda":
            torch.cuda.synchronize()
        return found

    return run


def _open_onnxruntime(
    exported: str, image: np.ndarray, device: str, num_threads: int
) -> Callable[[], object]:
    onnxruntime: Any = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    # threads that wait in a loop would slow the other arms, which are measured in turns
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = ["CUDAExecutionProvider"] if device == "cuda" else []
    available = onnxruntime.get_available_providers()
    providers = [name for name in [*wanted, "CPUExecutionProvider"] if name in available]
    session = onnxruntime.InferenceSession(exported, options, providers=providers)
    inputs = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, inputs)


def _open_openvino(exported: str, image: np.ndarray, num_threads: int) -> Callable[[], object]:
    openvino: Any = import_module("openvino")
    core = openvino.Core()
    model = core.read_model(next(Path(exported).glob("*.xml")))
    compiled = core.compile_model(
        model, "CPU", {"INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    return lambda: request.infer([image])
