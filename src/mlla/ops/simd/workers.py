"""Threads for kernels that release the interpreter's lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import torch

# a share for every thread and some to even out, when other programs hold a core up
_SHARES_PER_THREAD = 4


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="mlla-scan")


if hasattr(os, "register_at_fork"):
    # a forked process has the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share_tasks(work: Callable[[int, int], object], num_tasks: int, *, is_small: bool) -> None:
    """Call `work(first, last)` for ranges that cover all tasks, in as many threads as torch uses.

    Any number of threads may call this at once, which the parallel loops of Numba do not allow
    with every threading layer.

    Args:
        work: Does the tasks of a range. Their results must not depend on the ranges.
        num_tasks: Number of tasks.
        is_small: Whether all of it takes less time than waking a thread.
    """
    num_threads = min(torch.get_num_threads(), num_tasks)
    if num_threads < 2 or is_small:
        work(0, num_tasks)
        return
    num_shares = min(num_tasks, num_threads * _SHARES_PER_THREAD)
    bounds = [num_tasks * share // num_shares for share in range(num_shares + 1)]
    # taking the next item of an iterator is atomic
    shares = iter(list(pairwise(bounds)))

    def take_shares() -> None:
        for first, last in shares:
            work(first, last)

    helpers = [_pool().submit(take_shares) for _ in range(num_threads - 1)]
    try:
        take_shares()
    finally:
        for helper in helpers:
            helper.result()
