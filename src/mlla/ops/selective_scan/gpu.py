"""The selective scan on GPUs: the operators of the CPU kernel, run by programs of Triton."""

import importlib
import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mlla.ops.selective_scan.kernel import scan, scan_backward


def _triton_scan() -> Any:
    return importlib.import_module("mlla.ops.selective_scan.triton_scan")


# torch.compile would otherwise follow the import
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def reason_unavailable() -> str:
    """Tell why the programs do not run on the GPU of this machine; empty if they do."""
    return _failure_of_a_try()


@cache
def _failure_of_a_try() -> str:
    if not torch.cuda.is_available():
        return "there is no GPU"
    try:
        module = _triton_scan()
        sequence, rates = (
            torch.zeros(1, 1, 1, 1, device="cuda"),
            torch.zeros(1, 1, 1, device="cuda"),
        )
        module.triton_forward(*2 * [sequence], rates, *2 * [sequence], rates[0])
    # Triton may miss its driver, a compiler of C or support for the GPU, each with its own error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        # once, and aimed at who called the scan
        warnings.warn(
            f"the selective scan runs in plain PyTorch, many times slower: {reason}",
            RuntimeWarning,
            stacklevel=5,
        )
        return reason
    return ""


@scan.register_kernel("cuda")
def _(
    x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, keep_states: bool
) -> tuple[Tensor, Tensor]:
    y, states = _triton_scan().triton_forward(x, delta, A, B, C, D)
    return y, states if keep_states else states[:, :, :0].clone()


@scan_backward.register_kernel("cuda")
def _(*tensors: Tensor) -> tuple[Tensor, ...]:
    return _triton_scan().triton_backward(*tensors)
