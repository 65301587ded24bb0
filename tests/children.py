"""Runs trainings in processes of their own, forked so that nothing is imported again."""

import multiprocessing
import os
import signal
import socket

from accelerate.state import AcceleratorState

FORK = multiprocessing.get_context("fork")


def start(function, *arguments, **environment):
    """Start a function in a child with these environment variables."""

    def child():
        # an earlier training of the parent has settled these, for one process
        AcceleratorState._reset_state(reset_partial_state=True)
        # background jobs of a shell ignore it, and their children inherit that
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(environment)
        function(*arguments)

    process = FORK.Process(target=child)
    process.start()
    return process


def run(function, *arguments, processes=1):
    """Run a function in as many children as torchrun would start; return their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # accelerate would give each process several threads, which round sums differently
    together = {
        "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    children = [
        start(function, *arguments, RANK=str(rank), LOCAL_RANK=str(rank), **together)
        if processes > 1
        else start(function, *arguments)
        for rank in range(processes)
    ]
    for child in children:
        child.join(300)
    return [child.exitcode for child in children]
