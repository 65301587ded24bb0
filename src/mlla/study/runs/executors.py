"""Where the runs of a study are worked on: processes of this machine, SLURM, or a Ray cluster.

All three are `concurrent.futures.Executor`s, and so may be any other that a caller brings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlla.study.runs.cluster_executors import RayExecutor, SlurmExecutor
from mlla.study.runs.devices import Devices
from mlla.study.runs.run_folder import stop_workers

NAMES = ("local", "slurm", "ray")
_PACKAGES = {"slurm": "submitit", "ray": "ray"}
_STOP_S = 0.2


@contextmanager
def opened(executor: Executor) -> Iterator[Executor]:
    """Yield an executor and shut it down; after an exception, what runs on it is ended first."""
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    executor.shutdown()


def check_executor(executor: str | Executor, options: Mapping[str, Any]) -> None:
    """Check that an executor can be made, without making it.

    Args:
        executor: "local", "slurm", "ray", or one that the caller made.
        options: For "slurm" parameters of submitit with their prefix, such as `slurm_partition`,
            and `slurm_time`; for "ray" `ray_address` and what a task needs, such as `ray_num_gpus`.

    Raises:
        ValueError: If the name is unknown, an option belongs to another executor, or `slurm_time`
            is missing.
        ModuleNotFoundError: If a package is missing.
    """
    kind = executor if isinstance(executor, str) else type(executor).__name__
    if isinstance(executor, str) and executor not in NAMES:
        raise ValueError(f"executor={executor!r} is unknown; choose from {', '.join(NAMES)}")
    if foreign := [key for key in options if not key.startswith(f"{executor}_")]:
        raise ValueError(f"{foreign[0]}= does not belong to executor={kind}")
    package = _PACKAGES.get(kind)
    if package is not None and find_spec(package) is None:
        raise ModuleNotFoundError(f"executor={kind} needs {package}: pip install 'mlla[{kind}]'")
    if kind == "slurm" and "slurm_time" not in options:
        raise ValueError("executor=slurm needs slurm_time=, the minutes that one run may take")


def make_executor(
    kind: str, devices: Devices, options: Mapping[str, Any], *, folder: Path
) -> Executor:
    """Return an executor by name.

    Args:
        kind: "local", "slurm" or "ray".
        devices: What runs are trained on, for local ones.
        options: As `check_executor` takes them.
        folder: Folder of the study; a cluster must see it under the same path.

    Returns:
        The executor.

    Raises:
        ValueError: If `check_executor` raises it, or submitit does not know an option.
        ModuleNotFoundError: If a package is missing.
        ConnectionError: If there is no Ray cluster at the address.
    """
    check_executor(kind, options)
    if kind == "slurm":
        return SlurmExecutor(folder / "slurm", options)
    if kind == "ray":
        return RayExecutor(options)
    return LocalExecutor(devices.environments)


class LocalExecutor(ThreadPoolExecutor):
    """Waits in threads for processes of this machine, each of which has a device of its own.

    Args:
        environments: For each process at a time the variables that choose its device.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        super().__init__(max_workers=len(environments), thread_name_prefix="run")
        self._submitted: list[Future[Any]] = []
        self._free: SimpleQueue[dict[str, str]] = SimpleQueue()
        for environment in environments:
            self._free.put(dict(environment))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function, with `device_env`, as soon as a device is free."""
        future = super().submit(self._on_free_device, function, *args, **kwargs)
        self._submitted.append(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the processes; with `cancel_futures` end them first."""
        if cancel_futures:
            super().shutdown(wait=False, cancel_futures=True)
            # again, as one of them may just have been about to start
            while not all(future.done() for future in self._submitted):
                stop_workers()
                time.sleep(_STOP_S)
        super().shutdown(wait=wait)

    def _on_free_device(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        environment = self._free.get()
        try:
            return function(*args, device_env=environment, **kwargs)
        finally:
            self._free.put(environment)
