"""Time of an exported file beside PyTorch, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS, WARM_UP_ROUNDS = 9, 2


@dataclass(frozen=True)
class Latency:
    """Median times of one call.

    Args:
        pytorch_ms: Of the network as PyTorch deploys it, fused.
        exported_ms: Of the exported file.
        num_threads: Threads of both.
    """

    pytorch_ms: float
    exported_ms: float
    num_threads: int

    @property
    def ratio(self) -> float:
        """Time of the file over that of PyTorch."""
        return self.exported_ms / self.pytorch_ms


def measure(
    pytorch: Callable[[], object], exported: Callable[[], object], num_threads: int
) -> Latency:
    """Time both in turns, so that whatever else the machine does slows both alike."""
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(WARM_UP_ROUNDS + ROUNDS):
        for call, part in zip((pytorch, exported), times, strict=True):
            started = time.perf_counter()
            call()
            if turn >= WARM_UP_ROUNDS:
                part.append((time.perf_counter() - started) * 1e3)
    return Latency(statistics.median(times[0]), statistics.median(times[1]), num_threads)
