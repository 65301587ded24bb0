# SPDX-License-Identifier: AGPL-3.0-only
"""What this process runs on, and the most memory that it has used."""

from __future__ import annotations

import platform
import re
import sys
from pathlib import Path

import torch

_LINUX_STATUS, _LINUX_PROCESSOR = Path("/proc/self/status"), Path("/proc/cpuinfo")


def peak_memory(device: torch.device) -> tuple[int, str]:
    """Return the most memory in use so far.

    Args:
        device: Where the network is.

    Returns:
        Bytes, and whose: "cuda" for tensors on the graphics card, "process" for main memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "cuda"
    if _LINUX_STATUS.exists():
        # getrusage would also count what the parent had in use when it started this process
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _LINUX_STATUS.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024, "process"
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset), "process"
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024), "process"


def processor_name(device: torch.device) -> str:
    """Return what the maker calls the processor or graphics card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if _LINUX_PROCESSOR.exists():
        text = _LINUX_PROCESSOR.read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*: (.+)$", text, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()
