"""Which parts of the published block are there?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mlla.check.attempt import FailedError
from mlla.check.probes.options import claims_mlla
from mlla.check.report import Finding, Verdict
from mlla.check.subject import Subject

_CHECK = "parts of the block"
_DEPTHWISE_OF_BLOCK = 4
_DONE = (
    "Looked for norms, depthwise convolutions and an MLP among the layers, for a product of two "
    "branches during a run, and for the input in the output with all weights at zero."
)
_WHY = (
    "The published block is x + CPE(x), then x + attention with norm, gate and depthwise "
    "convolution, then x + CPE(x), then x + MLP(norm(x)). Attention alone replaces the features "
    "it is put after instead of refining them."
)
_REMEDY = (
    "Use the whole block: mlla.MLLABlock, or the MLLABlocks row in a YAML (see docs/yolo.md). "
    "If an attention layer on its own is what you want, give it a residual where you use it."
)


def probe_parts(subject: Subject) -> list[Finding]:
    """Compare the layers and the dataflow with those of the published MLLA block."""
    module = subject.build_spread()
    depthwise = _count_depthwise(module)
    present = {
        "norm": _has_norm(module, subject),
        "gate": _has_gate(module, subject),
        f"depthwise convolutions ({depthwise} of {_DEPTHWISE_OF_BLOCK})": depthwise >= 4,
        "residual": _has_residual(subject),
        "MLP": _has_mlp(module),
    }
    missing = [name for name, is_there in present.items() if not is_there]
    if not missing:
        seen = "norm, gate, depthwise convolutions, residual and MLP of the published block"
        return [Finding(_CHECK, Verdict.OK, seen)]
    # one depthwise convolution is LePE, which belongs to the attention itself
    is_bare = not (present["norm"] or present["gate"] or present["residual"]) and depthwise <= 1
    seen = f"differs from the published MLLA block: without {', '.join(missing)}"
    is_fault = is_bare and claims_mlla(subject)
    if is_fault:
        seen += f"; yet its name, {subject.target.__name__}, says MLLA"
    return [
        Finding(
            _CHECK,
            Verdict.FAULT if is_fault else Verdict.NOTE,
            seen,
            done=_DONE,
            why=_WHY,
            remedy=_REMEDY,
        )
    ]


def _count_depthwise(module: nn.Module) -> int:
    return sum(
        isinstance(part, nn.Conv2d)
        and part.groups == part.in_channels > 1
        and max(part.kernel_size) > 1
        for part in module.modules()
    )


def _has_norm(module: nn.Module, subject: Subject) -> bool:
    if any("norm" in type(part).__name__.lower() for part in module.modules()):
        return True
    return any("norm" in name for name in _functions(module, subject))


def _has_mlp(module: nn.Module) -> bool:
    """Find a projection back from at least twice the width."""
    for part in module.modules():
        if isinstance(part, nn.Linear) and part.in_features >= 2 * part.out_features:
            return True
        if not isinstance(part, nn.Conv2d) or max(part.kernel_size) > 1:
            continue
        if part.in_channels >= 2 * part.out_channels:
            return True
    return False


def _has_gate(module: nn.Module, subject: Subject) -> bool:
    return "product of two branches" in _functions(module, subject)


def _has_residual(subject: Subject) -> bool:
    """Tell whether the input comes through when every weight is zero."""
    module = subject.build()
    maps = subject.square()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        try:
            output = subject.run(module, maps)
        except FailedError:
            return False
    return bool(torch.allclose(output, maps, atol=1e-4))


class _Recorder(TorchFunctionMode):
    """Keeps the names of the functions called, and notes products of two branches."""

    def __init__(self, numel: int) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._numel = numel

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        self.names.add(name)
        if name in ("mul", "__mul__", "mul_", "__imul__", "multiply") and len(args) == 2:
            first, second = args
            both_follow_input = all(
                isinstance(a, Tensor) and a.requires_grad and a.numel() == self._numel for a in args
            )
            # x * sigmoid(x) is an activation, but its factors are as large: a gate has two weights
            if both_follow_input and not _is_own_activation(first, second):
                self.names.add("product of two branches")
        return func(*args, **(kwargs or {}))


def _is_own_activation(first: Tensor, second: Tensor) -> bool:
    """Tell whether one factor was computed from the other in a single step."""
    for value, factor in ((first, second), (second, first)):
        node = factor.grad_fn
        if node is not None and any(parent is value.grad_fn for parent, _ in node.next_functions):
            return True
    return False


def _functions(module: nn.Module, subject: Subject) -> set[str]:
    module.requires_grad_(False)
    maps = subject.square().requires_grad_()
    recorder = _Recorder(maps.numel())
    try:
        with recorder:
            subject.run(module, maps)
    except FailedError:
        pass
    return recorder.names
