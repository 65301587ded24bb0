"""The selective scan against the sequential loop, and on a GPU against the chunked form.

    python benchmarks/selective_scan.py
    python benchmarks/selective_scan.py --device cuda

The parity gate: output and every gradient of each form equal those of the loop in float64. The loop
is `selective_scan_reference`, which takes tokens apart once: one that indexes slices inside the
loop has a quadratic backward pass and loses against anything. On a CPU it runs in one thread, which
is its best: its operations are too small to share. On a GPU the loop is left out: it starts several
programs for each token.
"""

import argparse
import os
import time
from functools import partial
from importlib.metadata import version

import torch
from memory import growth_mib, median_mib
from record import interleaved_ms, write_result

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.selective_scan import active_form, selective_scan_chunked

FORMS = {
    "loop": selective_scan_reference,
    "chunked": selective_scan_chunked,
    "kernel": selective_scan,
}
# batch, groups, tokens, channels, states
LONG, WIDE = (1, 1, 25600, 256, 16), (1, 1, 400, 2048, 16)
# a stage of VMamba-T at 224 px, batch 32
STAGE = (32, 4, 784, 192, 16)
# speed of the kernel as a multiple of the peer's: what it must and what it should be
CPU_TARGETS = {"forward": (25, 65), "training": (15, 35)}
GPU_TARGETS = (5, None)


def draw(shape, dtype=torch.float32, device="cpu"):
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
    return [tensor.to(device, dtype).requires_grad_() for tensor in inputs]


def forward(scan, inputs, threads=None):
    if threads:
        torch.set_num_threads(threads)
    with torch.no_grad():
        return scan(*inputs)


def forward_backward(scan, inputs, threads=None):
    if threads:
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


def check_parity(device):
    inputs = draw((2, 3, 77, 100, 5), device=device)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = forward_backward(selective_scan_reference, exact)
    for scan in (selective_scan, selective_scan_chunked):
        for ours, theirs in zip(forward_backward(scan, inputs), expected, strict=True):
            error = (ours.double() - theirs).abs().max() / theirs.abs().max()
            assert error < 3e-6, f"{scan.__name__}: {error}"


def peak_mib(form):
    """Return what WIDE forward and backward adds to the memory of a process that has warmed up."""
    return round(median_mib(measure_peak, form))


def measure_peak(form):
    scan = FORMS[form]
    inputs = draw(WIDE)
    forward_backward(scan, draw((1, 1, 2, 3, 1)), 1)
    return growth_mib(lambda: forward_backward(scan, inputs, 1))


def rounded(values):
    return {name: round(value, 1) for name, value in values.items()}


def with_target(ratio, must, goal):
    verdict = "reached" if ratio >= must else "MISSED"
    wanted = f"must {must}x" + (f", goal {goal}x" if goal else "")
    return {"ratio": round(ratio, 1), "must": must, "goal": goal, "verdict": verdict}, wanted


def on_cpu():
    content = {}
    for name, task, shape in (("forward", forward, LONG), ("training", forward_backward, WIDE)):
        inputs = draw(shape)
        calls = {form: partial(task, scan, inputs, 1) for form, scan in FORMS.items()}
        calls["kernel_2_threads"] = partial(task, selective_scan, inputs, 2)
        elapsed = interleaved_ms(calls, rounds=5)
        processor = {form: processor_ms(call) for form, call in calls.items()}
        ratios = {form: elapsed["loop"] / value for form, value in elapsed.items()}
        target, wanted = with_target(ratios["kernel_2_threads"], *CPU_TARGETS[name])
        content[name] = {
            "batch_groups_tokens_channels_states": shape,
            "elapsed_ms": rounded(elapsed),
            "loop_over_elapsed": rounded(ratios),
            "processor_ms_all_threads": rounded(processor),
            "loop_over_processor": rounded(
                {k: processor["loop"] / v for k, v in processor.items()}
            ),
            "loop_over_kernel_2_threads": target,
        }
        print(f"{name} {shape}: {rounded(ratios)} times the loop; {wanted}: {target['verdict']}")
        print(f"  processor time: {content[name]['loop_over_processor']}", flush=True)
    content["training"]["peak_mib"] = {form: peak_mib(form) for form in FORMS}
    print(content["training"]["peak_mib"])
    return content


def gpu_ms(call, rounds=20):
    """Return the median time between two events of the GPU."""
    times = []
    for _ in range(rounds + 3):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after))
    return sorted(times[3:])[rounds // 2]


def on_gpu():
    content = {"form": active_form("cuda")}
    for name, task, shape, dtype in (
        ("forward", forward, LONG, torch.float32),
        ("training", forward_backward, WIDE, torch.float32),
        ("stage_training", forward_backward, STAGE, torch.float32),
        ("stage_training_bfloat16", forward_backward, STAGE, torch.bfloat16),
    ):
        inputs = draw(shape, dtype, "cuda")
        forms = ("chunked", "kernel")
        elapsed = {form: gpu_ms(partial(task, FORMS[form], inputs)) for form in forms}
        peaks = {}
        for form in forms:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            task(FORMS[form], inputs)
            peaks[form] = round((torch.cuda.max_memory_allocated() - before) / 2**20, 1)
        target, wanted = with_target(elapsed["chunked"] / elapsed["kernel"], *GPU_TARGETS)
        content[name] = {
            "batch_groups_tokens_channels_states": shape,
            "elapsed_ms": {form: round(value, 3) for form, value in elapsed.items()},
            "peak_mib": peaks,
            "chunked_over_kernel": target,
        }
        print(f"{name} {shape}: {content[name]}; {wanted}", flush=True)
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args()
    check_parity(options.device)
    conditions = {"load_average": f"{os.getloadavg()[0]:.1f}"}
    if options.device == "cuda":
        conditions["gpu"] = torch.cuda.get_device_name()
        print(write_result("selective_scan_cuda", on_gpu(), triton=version("triton"), **conditions))
    else:
        print(write_result("selective_scan", on_cpu(), numba=version("numba"), **conditions))


if __name__ == "__main__":
    main()
