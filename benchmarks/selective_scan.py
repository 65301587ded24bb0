"""The selective scan on this CPU against the sequential loop, forward and with gradients.

    python benchmarks/selective_scan.py

The parity gate: output and every gradient of each form equal those of the loop in float64. The loop
is `selective_scan_reference`, which takes tokens apart once: one that indexes slices inside the
loop has a quadratic backward pass and loses against anything. It runs in one thread, which is its
best: its operations are too small to share.
"""

import subprocess
import sys
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
THREADS = 2


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


def check_parity():
    inputs = draw((2, 3, 77, 100, 5))
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = forward_backward(selective_scan_reference, exact, 1)
    for scan in (selective_scan, selective_scan_chunked):
        for ours, theirs in zip(forward_backward(scan, inputs, THREADS), expected, strict=True):
            error = (ours.double() - theirs).abs().max() / theirs.abs().max()
            assert error < 3e-6, f"{scan.__name__}: {error}"


def peak_mib(form):
    """Memory of a process that runs WIDE forward and backward, above one that runs nothing."""

    def measured(*words):
        command = [sys.executable, __file__, *words]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(process.stdout) / 1024

    return measured(form, "run") - measured(form, "warm-up")


def print_peak(form, task):
    scan = {**FORMS, "kernel": selective_scan}[form]
    inputs = draw(WIDE)
    forward_backward(scan, draw((1, 1, 2, 3, 1)), 1)
    if task == "run":
        forward_backward(scan, inputs, 1)
    status = Path("/proc/self/status").read_text()
    print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    check_parity()
    content = {}
    for name, task, shape in (("forward", forward, LONG), ("training", forward_backward, WIDE)):
        inputs = draw(shape)
        calls = {
            "loop": partial(task, FORMS["loop"], inputs, 1),
            "chunked": partial(task, FORMS["chunked"], inputs, THREADS),
            "kernel_1_thread": partial(task, selective_scan, inputs, 1),
            f"kernel_{THREADS}_threads": partial(task, selective_scan, inputs, THREADS),
        }
        times = interleaved_ms(calls)
        content[name] = {
            "batch_groups_tokens_channels_states": shape,
            **{f"{form}_ms": round(value, 1) for form, value in times.items()},
            **{
                f"loop_over_{form}": round(times["loop"] / value, 2)
                for form, value in times.items()
                if form != "loop"
            },
        }
        print(name, content[name], flush=True)
    content["training"]["peak_mib"] = {
        form: round(peak_mib(form)) for form in ("loop", "chunked", "kernel")
    }
    print(content["training"]["peak_mib"])
    print(write_result("selective_scan", content, numba=version("numba")))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print_peak(*sys.argv[1:])
    else:
        main()
