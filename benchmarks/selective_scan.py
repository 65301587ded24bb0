"""The selective scan on this CPU against the sequential loop, forward and with gradients.

    python benchmarks/selective_scan.py

The parity gate: output and every gradient of each form equal those of the loop in float64. The loop
is `selective_scan_reference`, which takes tokens apart once: one that indexes slices inside the
loop has a quadratic backward pass and loses against anything. It runs in one thread, which is its
best: its operations are too small to share.
"""

import os
import subprocess
import sys
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from record import interleaved_ms, write_result

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.selective_scan import selective_scan_chunked

FORMS = {"loop": selective_scan_reference, "chunked": selective_scan_chunked}
# batch, groups, tokens, channels, states
LONG, WIDE = (1, 1, 25600, 256, 16), (1, 1, 400, 2048, 16)


def draw(shape, dtype=torch.float32):
    batch, groups, length, width, states = shape
    inputs = [
        *(
            torch.randn(batch, groups, length, width),
            0.1 * torch.rand(batch, groups, length, width),
        ),
        -torch.arange(1.0, states + 1).repeat(groups, width, 1),
        *(torch.randn(batch, groups, length, states), torch.randn(batch, groups, length, states)),
        torch.ones(groups, width),
    ]
    return [tensor.to(dtype).requires_grad_() for tensor in inputs]


def forward(scan, inputs, threads):
    torch.set_num_threads(threads)
    with torch.no_grad():
        return scan(*inputs)


def forward_backward(scan, inputs, threads):
    torch.set_num_threads(threads)
    output = scan(*inputs)
    return [output, *torch.autograd.grad(output, inputs, output.detach())]


def processor_ms(call, rounds=5):
    """Return the least processor time of a call: what others do on the machine counts little."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        call()
        times.append((time.process_time() - started) * 1e3)
    return min(times)


def check_parity():
    inputs = draw((2, 3, 77, 100, 5))
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = forward_backward(selective_scan_reference, exact, 1)
    for scan in (selective_scan, selective_scan_chunked):
        for ours, theirs in zip(forward_backward(scan, inputs, 2), expected, strict=True):
            error = (ours.double() - theirs).abs().max() / theirs.abs().max()
            assert error < 3e-6, f"{scan.__name__}: {error}"


def peak_mib(form):
    """Return what WIDE forward and backward adds to the memory of a process that has warmed up."""
    command = [sys.executable, __file__, form]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(int(process.stdout) / 1024)


def print_peak(form):
    scan = {**FORMS, "kernel": selective_scan}[form]
    inputs = draw(WIDE)
    forward_backward(scan, draw((1, 1, 2, 3, 1)), 1)

    def status_kib(name):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))

    # forget the largest size so far
    Path("/proc/self/clear_refs").write_text("5")
    before = status_kib("VmRSS")
    forward_backward(scan, inputs, 1)
    print(status_kib("VmHWM") - before)


def rounded(values):
    return {name: round(value, 1) for name, value in values.items()}


def main() -> None:
    check_parity()
    content = {}
    for name, task, shape in (("forward", forward, LONG), ("training", forward_backward, WIDE)):
        inputs = draw(shape)
        one_thread = {
            "loop": partial(task, FORMS["loop"], inputs, 1),
            "chunked": partial(task, FORMS["chunked"], inputs, 1),
            "kernel": partial(task, selective_scan, inputs, 1),
        }
        two_threads = {"kernel_2_threads": partial(task, selective_scan, inputs, 2)}
        calls = {**one_thread, **two_threads}
        elapsed = interleaved_ms(calls, rounds=5)
        processor = {form: processor_ms(call) for form, call in calls.items()}
        content[name] = {
            "batch_groups_tokens_channels_states": shape,
            "elapsed_ms": rounded(elapsed),
            "loop_over_elapsed": rounded({k: elapsed["loop"] / v for k, v in elapsed.items()}),
            "processor_ms_all_threads": rounded(processor),
            "loop_over_processor": rounded(
                {k: processor["loop"] / v for k, v in processor.items()}
            ),
        }
        print(name, content[name], flush=True)
    content["training"]["peak_mib"] = {
        form: peak_mib(form) for form in ("loop", "chunked", "kernel")
    }
    print(content["training"]["peak_mib"])
    conditions = {"numba": version("numba"), "load_average": f"{os.getloadavg()[0]:.1f}"}
    print(write_result("selective_scan", content, **conditions))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peak(sys.argv[1])
    else:
        main()
