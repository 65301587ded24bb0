"""A training step of MLLA-T on the CPU beside its authors' code, each in the same precision.

    python benchmarks/training.py --official DIR [--batch 8] [--size-px 224] [--rounds 5]

The parity gate: with equal weights, loss and gradients equal those of the authors' code. Peak
memory is that of one step above the loaded model, the median of processes of their own.
"""

import argparse
import copy
from collections.abc import Callable
from functools import partial

import timm
import torch
from memory import growth_mib, median_mib
from official import equal_models
from record import interleaved_ms, write_result
from torch import nn
from torch.nn import functional

from mlla.models.mlla_names import rename_published
from mlla.ops import use_fast_paths

# must and goal: at least for times, at most for memory
TARGETS = {
    "step, float32": (1.1, 1.3),
    "step, bfloat16 autocast": (1.15, 1.4),
    "peak memory, float32": (0.85, 0.6),
}
FORMS = ("official", "plain", "fast")
# in float64: in float32 a few activations at the bend of ReLU fall to the other side, which alone
# moves gradients by up to 5e-3
TOLERANCE = 1e-7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", required=True, help="the authors' repository")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    batch, size_px = arguments.batch, arguments.size_px
    networks = training_models(arguments.official, size_px)
    error = largest_difference(networks, size_px)
    print(f"largest relative difference of loss and gradients from the authors': {error:.1e}")
    if not error < TOLERANCE:
        raise SystemExit("loss or gradients differ from those of the authors; nothing was timed")

    ratios = {}
    for precision in ("float32", "bfloat16 autocast"):
        steps = {form: step_of(form, networks, batch, size_px, precision) for form in FORMS}
        times = interleaved_ms(steps, arguments.rounds)
        ratios[f"step, {precision}"] = round(times["official"] / times["fast"], 2)
        ratios[f"plain step, {precision}"] = round(times["official"] / times["plain"], 2)
    del networks
    peaks = {form: peak_mib(form, arguments.official, batch, size_px) for form in FORMS}
    peaks["checkpointing"] = peak_mib("checkpointing", arguments.official, batch, size_px)
    ratios["peak memory, float32"] = round(peaks["fast"] / peaks["official"], 2)
    ratios["plain peak memory, float32"] = round(peaks["plain"] / peaks["official"], 2)
    ratios["checkpointing peak memory, float32"] = round(
        peaks["checkpointing"] / peaks["official"], 2
    )
    for name, value in ratios.items():
        must, goal = TARGETS.get(name, ("", ""))
        print(f"  {name:36} {value:>8}  {f'must {must}, goal {goal}' if must else ''}")
    content = {
        "batch": batch,
        "size_px": size_px,
        "ratios": ratios,
        "gradient_difference": error,
        "peak_mib": {form: round(peak) for form, peak in peaks.items()},
    }
    print(write_result("training_tiny", content, timm=timm.__version__))


def training_models(folder: str, size_px: int) -> dict[str, nn.Module]:
    """Return the authors' model and ours, with equal weights, in training; no branch is skipped."""
    theirs, ours = equal_models(folder, "tiny", size_px)
    for module in theirs.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return {"official": theirs.train(), "plain": ours.train(), "fast": ours}


def step_of(
    form: str, networks: dict[str, nn.Module], batch: int, size_px: int, precision: str
) -> Callable[[], float]:
    """Return a step: zeroed gradients, forward and backward pass."""
    torch.manual_seed(0)
    image, classes = torch.randn(batch, 3, size_px, size_px), torch.randint(1000, (batch,))
    image = image.double() if precision == "float64" else image
    return partial(run_step, networks[form], image, classes, form == "fast", precision)


def run_step(
    network: nn.Module, image: torch.Tensor, classes: torch.Tensor, fast: bool, precision: str
) -> float:
    use_fast_paths(fast)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16 autocast"):
        logits = network(image)
    loss = functional.cross_entropy(logits.to(image.dtype), classes)
    loss.backward()
    return loss.item()


def largest_difference(networks: dict[str, nn.Module], size_px: int) -> float:
    """Return how far loss and gradients of our forms are from theirs, relative to all of them.

    Of all weights together: biases before a batch norm have gradients of rounding errors only.
    """
    precise = {form: copy.deepcopy(network).double() for form, network in networks.items()}
    loss = step_of("official", precise, 2, size_px, "float64")()
    wanted = {
        rename_published(name): parameter.grad
        for name, parameter in precise["official"].named_parameters()
    }
    length = torch.cat([gradient.flatten() for gradient in wanted.values()]).norm()
    differences = []
    for form in ("plain", "fast"):
        differences.append(abs(step_of(form, precise, 2, size_px, "float64")() / loss - 1))
        named = precise[form].named_parameters()
        apart = torch.cat([(weight.grad - wanted[name]).flatten() for name, weight in named])
        differences.append(float(apart.norm() / length))
    return max(differences)


def peak_mib(form: str, folder: str, batch: int, size_px: int) -> float:
    """Return how far the resident set grows in a step above that of the loaded model, in MiB."""
    return median_mib(_measure, form, folder, batch, size_px)


def _measure(form: str, folder: str, batch: int, size_px: int) -> float:
    checkpointing = form == "checkpointing"
    networks = training_models(folder, size_px)
    form = "fast" if checkpointing else form
    networks = {form: networks[form]}
    if checkpointing:
        networks[form].set_grad_checkpointing()
    # a small step first: what is compiled or opened once is no memory of a step
    step_of(form, networks, 1, size_px, "float32")()
    networks[form].zero_grad(set_to_none=True)
    step = step_of(form, networks, batch, size_px, "float32")
    return growth_mib(step)


if __name__ == "__main__":
    main()
