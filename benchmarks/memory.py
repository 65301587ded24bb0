"""How far the resident memory of a process grows, on Linux."""

import ctypes
import gc
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# what the allocator keeps of earlier work differs from process to process
_PROCESSES = 5


def median_mib(measure: Callable[..., float], *arguments: Any) -> float:
    """Return the median of what a function measures in processes of its own, one after another."""
    found = []
    for _ in range(_PROCESSES):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            found.append(process.submit(measure, *arguments).result())
    return statistics.median(found)


def growth_mib(function: Callable[[], Any]) -> float:
    """Return how far the resident set rises at most while a function runs, in MiB.

    Raises:
        RuntimeError: On a system without Linux's /proc.
    """
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    # sets the high-water mark back to what is resident now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_mib("VmRSS")
    function()
    return _status_mib("VmHWM") - before


def _status_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}: peak memory is measured on Linux only")
