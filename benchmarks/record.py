"""What every benchmark needs: interleaved timing and a result file that names its conditions."""

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def interleaved_ms(calls: dict[str, Callable[[], object]], rounds: int = 9) -> dict[str, float]:
    """Time calls in turns, so that a busy machine slows all of them alike.

    Returns:
        The median of each call in milliseconds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn >= 2:
                times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def write_result(name: str, content: dict[str, Any], **versions: str) -> Path:
    """Write `content` with device, versions and commit to results/NAME.json."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":")[1].strip() if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=RESULTS
    ).stdout.strip()
    conditions = {
        "device": cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **versions,
        "commit": commit,
        "date": date.today().isoformat(),
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"conditions": conditions, **content}, indent=1) + "\n")
    return path
