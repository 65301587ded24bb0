"""Loops in the threads of PyTorch."""

import numpy as np
import pytest
import torch

from run_python import run_python

pytest.importorskip("numba")
from numba import njit

from mlla.ops.simd import workers
from mlla.ops.simd.compiling import compiled_within
from mlla.ops.simd.team import sharing
from mlla.ops.simd.workers import share_tasks

needs_team = pytest.mark.skipif(
    workers._start_team() == 0, reason="PyTorch has another OpenMP here"
)


@compiled_within
def _count(counts, weight, first, last):
    for task in range(first, last):
        counts[task] += weight * task


_share_count = sharing(_count)


@njit(nogil=True)
def count(team, *arguments):
    _share_count(team, arguments)


@compiled_within
def _grow(sizes, first, last):
    for task in range(first, last):
        np.zeros(sizes[task], np.float32)[0] = 1


_share_grow = sharing(_grow)


@njit(nogil=True)
def grow(team, *arguments):
    _share_grow(team, arguments)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("has_team", [True, False])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 3, 7, 12, 1000])
def test_every_task_is_done_once(num_tasks, has_team, monkeypatch):
    if not has_team:
        monkeypatch.setattr(workers, "_start_team", lambda: 0)
    counts = np.zeros(num_tasks)
    share_tasks(lambda team: count(team, counts, 2.0), num_tasks, is_small=False)
    assert (counts == 2.0 * np.arange(num_tasks)).all()


@needs_team
@pytest.mark.usefixtures("three_threads")
def test_teams_have_the_threads_that_torch_has():
    teams = []
    share_tasks(teams.append, 100, is_small=False)
    share_tasks(teams.append, 100, is_small=True)
    share_tasks(teams.append, 2, is_small=False)
    (start, *numbers), alone, two = teams
    assert start != 0
    assert numbers == [3, 0, 100, 8]
    assert alone == (0, 1, 0, 100, 100)
    assert two[1:] == (2, 0, 2, 1)


@needs_team
@pytest.mark.usefixtures("three_threads")
def test_a_loop_without_memory_is_told():
    sizes = np.full(9, 8)
    sizes[5] = 2**60
    with pytest.raises(MemoryError):
        share_tasks(lambda team: grow(team, sizes), 9, is_small=False)
    share_tasks(lambda team: grow(team, np.full(9, 8)), 9, is_small=False)


@needs_team
def test_a_forked_process_does_not_wait_for_threads_it_does_not_have():
    code = """
import os, torch
from mlla.ops.simd.workers import share_tasks
torch.set_num_threads(2)
torch.rand(4, 512, 512).exp()
teams = []
if os.fork() == 0:
    share_tasks(teams.append, 8, is_small=False)
    os._exit(0 if all(team[0] == 0 for team in teams) else 1)
print(os.wait()[1])
"""
    assert run_python(code) == ["0"]
