"""Does it survive half precision at the sizes of a detector?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mlla.check.attempt import FailedError
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_SIDES = (80, 160)
# for what grows with the square of the number of pixels
_SMALL_SIDE = 40
_LARGEST_HALF = 65504.0
# more numbers than this in one tensor, or more work, are not worth the wait
_MOST_NUMBERS = 3e7
_MOST_FLOPS = 8e9
# features of a detector go up to about ten
_LARGE = 4.0
# an error from which on a note is due
_NOISY = 0.1
_REMEDY = (
    "Divide by the number of tokens before summing (k.mean, or both factors of k^T v by "
    "sqrt(n)), and do sums over tokens in float32."
)


def probe_precision(subject: Subject) -> list[Finding]:
    """Run large maps in float32, with half-precision weights, and under autocast."""
    try:
        numbers, flops = _costs(subject)
    except FailedError as failure:
        return [Finding("large maps", Verdict.NOT_CHECKED, f"twice the size raises {failure}")]
    fits = [s for s in _SIDES if numbers.at(s) < _MOST_NUMBERS and flops.at(s) < _MOST_FLOPS]
    fits = fits or [_SMALL_SIDE]
    # the largest inputs are where overflow shows first: the small ones once are enough
    sizes = [(fits[0], 1.0), *((side, _LARGE) for side in fits)]
    references = _references(subject, sizes)
    findings = [_memory_note(numbers)] if numbers.power > 3 else []
    if not references:
        seen = f"does not run on a map of {sizes[0][0]}x{sizes[0][0]}"
        return [*findings, Finding("large maps", Verdict.NOT_CHECKED, seen)]
    findings.append(_judge_float32(references))
    modes = {
        "half()": torch.float16,
        "autocast float16": torch.float16,
        "autocast bfloat16": torch.bfloat16,
    }
    return findings + [_probe(subject, references, *mode) for mode in modes.items()]


@dataclass(frozen=True)
class _Reference:
    """Maps of one size, and the answer in float32."""

    maps: Tensor
    answer: Tensor
    where: str


@torch.no_grad()
def _references(subject: Subject, sizes: list[tuple[int, float]]) -> list[_Reference]:
    references = []
    for side, scale in sizes:
        maps = scale * subject.maps(1, side, side)
        try:
            answer = subject.run(subject.build(), maps)
        except FailedError:
            continue
        references.append(_Reference(maps, answer, f"{side}x{side}, inputs times {scale:g}"))
    return references


def _judge_float32(references: list[_Reference]) -> Finding:
    for reference in references:
        if bad := _share_not_finite(reference.answer):
            return _fault(
                "float32",
                f"{bad:.0%} of the output is NaN or infinite ({reference.where})",
                _done(references),
                "Nothing can be trained on it.",
                "Look for divisions by what may be zero, and roots or logarithms of it.",
            )
    return Finding("float32", Verdict.OK, f"finite at {_sizes(references)}")


@torch.no_grad()
def _probe(
    subject: Subject, references: list[_Reference], mode: str, dtype: torch.dtype
) -> Finding:
    done = _done(references)
    worst = 0.0
    for reference in references:
        # what is too large for float16 in itself proves nothing
        if not reference.answer.abs().max() < _LARGEST_HALF / 10:
            continue
        try:
            answer = _run_low(subject, reference.maps, mode, dtype)
        except FailedError as failure:
            return _raised(mode, failure, done)
        if mode == "half()" and answer.dtype != dtype:
            return _fault(
                mode,
                f"returns {answer.dtype} for torch.float16",
                done,
                "The next layer of a half-precision model raises on it.",
                "Bring tables of positions to the dtype of the input before multiplying.",
            )
        if bad := _share_not_finite(answer):
            pixels = reference.maps.shape[2] * reference.maps.shape[3]
            return _fault(
                mode,
                f"{bad:.0%} of the output is NaN or infinite ({reference.where})",
                done,
                f"float16 ends at {_LARGEST_HALF:.0f}; sums over {pixels:,} pixels pass it. "
                "Ultralytics trains with float16 autocast on GPUs.",
                _REMEDY,
            )
        scale = reference.answer.abs().max().clamp_min(1e-12)
        worst = max(worst, ((answer.float() - reference.answer).abs().max() / scale).item())
    if worst > _NOISY:
        return Finding(
            mode,
            Verdict.NOTE,
            f"off by up to {worst:.0%} of the largest value at {_sizes(references)}",
            done=done,
            why="Small differences of large numbers, or a division by nearly nothing; training is "
            "noisier than it need be.",
            remedy=_REMEDY,
        )
    seen = f"finite at {_sizes(references)}, off by at most {worst:.1%} of the largest value"
    return Finding(mode, Verdict.OK, seen)


def _share_not_finite(answer: Tensor) -> float:
    return (~answer.isfinite()).float().mean().item()


def _done(references: list[_Reference]) -> str:
    return "Ran normal maps: " + "; ".join(reference.where for reference in references) + "."


def _sizes(references: list[_Reference]) -> str:
    sides = sorted({reference.maps.shape[2] for reference in references})
    return " and ".join(f"{side}x{side}" for side in sides)


def _run_low(subject: Subject, maps: Tensor, mode: str, dtype: torch.dtype) -> Tensor:
    module = subject.build()
    if mode == "half()":
        return subject.run(module.half(), maps.half())
    with torch.autocast("cpu", dtype=dtype):
        return subject.run(module, maps)


def _raised(mode: str, failure: FailedError, done: str) -> Finding:
    text = str(failure)
    if "not implemented for" in text or "not supported" in text.lower():
        return Finding(mode, Verdict.NOT_CHECKED, f"this CPU cannot do it: {text}")
    return _fault(
        mode,
        f"raises {text}",
        done,
        "Ultralytics validates with half=True and trains under autocast on GPUs.",
        "Create tensors in the dtype of the input, and bring constants to it before products.",
    )


def _fault(mode: str, seen: str, done: str, why: str, remedy: str) -> Finding:
    return Finding(mode, Verdict.FAULT, seen, done=done, why=why, remedy=remedy)


class _Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


@dataclass(frozen=True)
class _Cost:
    """What one run costs at one size, and the power of the side it grows with."""

    at_side: float
    power: float
    side: int

    def at(self, side: int) -> float:
        """Return the cost at another size."""
        return self.at_side * (side / self.side) ** self.power


def _costs(subject: Subject) -> tuple[_Cost, _Cost]:
    """Return the numbers in the largest tensor, and the floating-point operations.

    With gradients on, so that no fused attention hides what it does.
    """
    numbers, flops = [], []
    for side in (subject.side, 2 * subject.side):
        maps = subject.maps(1, side, side).requires_grad_()
        with FlopCounterMode(display=False) as counter, _Largest() as largest:
            subject.run(subject.build(), maps)
        numbers.append(max(1, largest.numbers))
        flops.append(max(1, counter.get_total_flops()))
    return tuple(  # type: ignore[return-value]
        _Cost(cost[0], math.log2(cost[1] / cost[0]), subject.side) for cost in (numbers, flops)
    )


def _memory_note(numbers: _Cost) -> Finding:
    at_160 = numbers.at(160) * 4 / 2**30
    return Finding(
        "memory",
        Verdict.NOTE,
        f"grows with the square of the number of pixels: {at_160:.1f} GiB for one tensor at "
        "160x160",
        done="Watched the largest tensor at two sizes.",
        why="Maps of 160x160 are those of stride 4 at 640 pixels; softmax attention there is why "
        "linear attention was invented.",
        remedy="Use it at stride 16 or 32 only, or linear attention.",
    )
