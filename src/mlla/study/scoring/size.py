"""How large the network of a checkpoint is: parameters and operations, counted twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# beyond this the two counts are said to disagree
TOLERANCE = 0.1


def checkpoint_size(checkpoint: Path, size_px: int) -> dict[str, Any]:
    """Count the operations of a detector on one square image.

    Args:
        checkpoint: The .pt file.
        size_px: Height and width.

    Returns:
        "parameters"; "gflops" as Ultralytics prints them; "gflops_torch" by the counter of torch,
        which knows scans, too; None where one of them cannot tell; and "gflops_disagree", whether
        they differ by more than a tenth of the larger one.

    Raises:
        OSError, ValueError: If the checkpoint cannot be opened.
    """
    # ultralytics is not needed to score and compare
    from mlla.yolo import YOLO
    from mlla.yolo.facts import count_gflops, printed_gflops

    network = YOLO(checkpoint).model
    try:
        counted: float | None = count_gflops(network, size_px)
    except (RuntimeError, NotImplementedError):
        # a module that cannot run without data
        counted = None
    printed = printed_gflops(network, size_px)
    disagree = False
    if printed is not None and counted is not None:
        disagree = abs(printed - counted) > TOLERANCE * max(printed, counted)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": printed,
        "gflops_torch": counted,
        "gflops_disagree": disagree,
    }
