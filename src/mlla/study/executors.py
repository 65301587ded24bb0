"""Where the runs of a study are worked on: processes of this machine, SLURM, or a Ray cluster.

All three are `concurrent.futures.Executor`s, and so may be any other that a caller brings.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from mlla.study.run_folder import stop_workers

NAMES = ("local", "slurm", "ray")
_PACKAGES = {"slurm": "submitit", "ray": "ray"}
_POLL_S, _STOP_S = 2.0, 0.2


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


class SlurmExecutor(Executor):
    """Sends functions to SLURM by submitit; a job that is preempted is queued again by it.

    Args:
        folder: For the scripts, results and output of the jobs.
        options: Parameters of submitit with the prefix `slurm_`, and `slurm_time` in minutes.
            `slurm_cluster` may name another of its executors: "local" for processes of this
            machine, "debug" for this very one.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        import submitit

        parameters = dict(options)
        self._submitit = submitit.AutoExecutor(
            folder=str(folder / "%j"), cluster=parameters.pop("slurm_cluster", "slurm")
        )
        minutes = parameters.pop("slurm_time")
        self._submitit.update_parameters(name="mlla", timeout_min=minutes, **parameters)
        self._jobs: dict[Future[Any], Any] = {}
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to the queue of the cluster."""
        job = self._submitit.submit(Requeued(function), *args, **kwargs)
        future: Future[Any] = Future()
        # from now on only the cluster can take it back
        future.set_running_or_notify_cancel()
        self._jobs[future] = job
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the jobs, or cancel all that are not finished, running ones included."""
        if wait and not cancel_futures:
            futures.wait(self._jobs)
        self._stop.set()
        self._watcher.join()
        for future, job in self._jobs.items():
            if not future.done() and cancel_futures:
                job.cancel()
                future.set_exception(CancelledError("the job was cancelled"))

    def _watch(self) -> None:
        while not self._stop.wait(_POLL_S):
            for future, job in list(self._jobs.items()):
                if not future.done():
                    _settle_if_done(future, job)


class Requeued:
    """A function that submitit may queue once more where it was preempted or ran out of time.

    Args:
        function: What to call; called again it goes on where it stopped.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Return what submitit is to queue instead of the interrupted call: the same one."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *args, **kwargs)


class RayExecutor(Executor):
    """Sends functions to a Ray cluster.

    Args:
        options: `ray_address`, "local" for one on this machine, which is the default, or "auto" for
            the one that runs; and what each task needs, such as `ray_num_cpus` or `ray_num_gpus`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        import ray

        needs = {key.removeprefix("ray_"): value for key, value in options.items()}
        ray.init(
            address=needs.pop("address", "local"), include_dashboard=False, log_to_driver=False
        )
        self._ray, self._needs = ray, needs
        self._tasks: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Send a call to the cluster."""
        # a failed run is reported, and only a lost machine is worth another try
        task = self._ray.remote(function).options(max_retries=3, **self._needs)
        reference = task.remote(*args, **kwargs)
        future: Future[Any] = reference.future()
        self._tasks[future] = reference
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the tasks, or end all that are not finished, running ones included."""
        if wait and not cancel_futures:
            futures.wait(self._tasks)
        for reference in self._tasks.values() if cancel_futures else ():
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _settle_if_done(future: Future[Any], job: Any) -> None:
    """Give a future what a job left, if it is at its end."""
    try:
        if not job.done():
            return
        value = job.result()
    # whatever the job or the cluster raises is the caller's to see
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)


def _cuda_devices() -> list[str]:
    """Return the numbers of the CUDA devices that this process may use."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [number.strip() for number in visible.split(",") if number.strip()]
    return named[:count] if named else [str(number) for number in range(count)]
