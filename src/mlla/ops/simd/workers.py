"""Threads for compiled loops, which release the interpreter's lock."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch

# a share for every thread and some to even out, when other programs hold a core up
_SHARES_PER_THREAD = 4
# a forked process has none of its parent's threads, and OpenMP would wait for them
_PROCESS = os.getpid()
# of OpenMP's function that starts a team, threads, first task, task to stop before, tasks at once
Team = tuple[int, int, int, int, int]


def share_tasks(loop: Callable[[Team], object], num_tasks: int, *, is_small: bool) -> None:
    """Call a loop for all tasks, in as many threads as torch uses.

    Any number of threads may call this at once, which the parallel loops of Numba do not allow
    with every threading layer.

    Args:
        loop: Shares tasks (`mlla.ops.simd.team`) among the team it gets, and may be called several
            times, for parts of the tasks. Their results must not depend on the parts.
        num_tasks: Number of tasks.
        is_small: Whether all of it takes less time than waking a thread.
    """
    num_threads = min(torch.get_num_threads(), num_tasks)
    if num_threads < 2 or is_small:
        loop((0, 1, 0, num_tasks, num_tasks))
    elif (start_team := _start_team()) and os.getpid() == _PROCESS:
        step = max(1, num_tasks // (num_threads * _SHARES_PER_THREAD))
        loop((start_team, num_threads, 0, num_tasks, step))
    else:
        _share_in_pool(loop, num_tasks, num_threads)


@cache
def _start_team() -> int:
    """Return where OpenMP starts a team of the threads that PyTorch uses; 0 if it has no such."""
    folder = Path(torch.__file__).parent / "lib"
    try:
        # looks into the libraries that this one needs, so it finds PyTorch's OpenMP and no other
        function = ctypes.CDLL(str(folder / "libtorch_cpu.so")).GOMP_parallel
    except (OSError, AttributeError):
        # other systems have other files, and other OpenMP
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _share_in_pool(loop: Callable[[Team], object], num_tasks: int, num_threads: int) -> None:
    """Share tasks among threads of our own, which takes longer to begin."""
    num_shares = min(num_tasks, num_threads * _SHARES_PER_THREAD)
    bounds = [num_tasks * share // num_shares for share in range(num_shares + 1)]
    # taking the next item of an iterator is atomic
    shares = iter(list(pairwise(bounds)))

    def take_shares() -> None:
        for first, last in shares:
            loop((0, 1, first, last, last - first))

    helpers = [_pool().submit(take_shares) for _ in range(num_threads - 1)]
    try:
        take_shares()
    finally:
        for helper in helpers:
            helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="mlla-loops")


if hasattr(os, "register_at_fork"):
    # a forked process has the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
