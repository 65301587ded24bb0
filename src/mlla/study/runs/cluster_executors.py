"""SLURM and Ray as `concurrent.futures.Executor`s: thin adapters to submitit and to Ray itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent import futures
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from typing import Any

_POLL_S = 2.0


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
