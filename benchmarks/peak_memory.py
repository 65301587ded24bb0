"""Peak memory of one forward pass in a process of its own, on Linux."""

import ctypes
import gc
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from official import equal_models

import mlla

KINDS = ("official", "plain", "optimized")


def peak_mib(kind: str, folder: str, size: str, batch: int) -> float:
    """Return how far the resident set grows above that of the loaded model, in MiB.

    Args:
        kind: One of `KINDS`.
        folder: The authors' repository.
        size: A key of `official.SIZES`.
        batch: Number of images of 224 pixels.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measure, kind, folder, size, batch).result()


def _measure(kind: str, folder: str, size: str, batch: int) -> float:
    theirs, ours = equal_models(folder, size)
    model = {"official": theirs, "plain": ours}.get(kind) or mlla.optimize(ours)
    del theirs, ours
    gc.collect()
    image = torch.rand(batch, 3, 224, 224)
    with torch.inference_mode():
        # what is compiled or opened once is no memory of a pass
        model(image[:1])
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    # sets the high-water mark back to what is resident now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mib("VmRSS")
    with torch.inference_mode():
        model(image)
    return _status_mib("VmHWM") - before


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}: peak memory is measured on Linux only")
