"""What the runs of a study are trained on, and how many of them at a time."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Devices:
    """What runs are trained on.

    Attributes:
        setting: The argument `device` of every training.
        environments: For each process that runs at a time the variables that choose its device.
    """

    setting: str | None
    environments: tuple[dict[str, str], ...]


def choose_devices(device: str | None, workers: int | None, *, is_local: bool = True) -> Devices:
    """Decide how many runs are trained at a time, and on what.

    Args:
        device: "cpu", "mps", a number of a CUDA device, or several for one run over all of them;
            by default every CUDA device of this machine gets runs of its own, else the CPU.
        workers: Runs at a time; by default one per CUDA device, or one.
        is_local: Whether the runs are trained on this machine; a cluster sets the devices itself.

    Returns:
        The choice.

    Raises:
        ValueError: If `device` or `workers` makes no sense.
    """
    if workers is not None and (isinstance(workers, bool) or workers < 1):
        raise ValueError(f"workers={workers!r} must be the number of runs at a time, such as 2")
    name = None if device is None else str(device).strip("[]() ").replace(" ", "").lower()
    if name is not None and not re.fullmatch(r"cpu|mps|(cuda:)?\d+(,\d+)*", name):
        raise ValueError(
            f"device={device!r} must be cpu, mps, the number of a CUDA device, or several such as "
            "0,1 for one run over both"
        )
    name = name and name.removeprefix("cuda:")
    if not is_local:
        return Devices(name, ({},))
    if name in ("cpu", "mps") or (name and "," in name):
        return Devices(name, ({},) * (workers or 1))
    numbers = _cuda_devices() if name is None else [name]
    if not numbers:
        return Devices("cpu", ({},) * (workers or 1))
    # Ultralytics sets the variable itself where it is told a number
    chosen = [{"CUDA_VISIBLE_DEVICES": number} for number in numbers]
    count = workers or len(chosen)
    return Devices(None, tuple(chosen[index % len(chosen)] for index in range(count)))


def _cuda_devices() -> list[str]:
    """Return the numbers of the CUDA devices that this process may use."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [number.strip() for number in visible.split(",") if number.strip()]
    return named[:count] if named else [str(number) for number in range(count)]
