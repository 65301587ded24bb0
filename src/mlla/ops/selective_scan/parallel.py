"""Which form of the selective scan runs: a kernel, or plain PyTorch."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.fast_paths import fast_paths_enabled
from mlla.ops.precision import without_autocast
from mlla.ops.selective_scan import gpu, kernel
from mlla.ops.selective_scan.arguments import check_arguments
from mlla.ops.selective_scan.chunked import selective_scan_chunked
from mlla.ops.selective_scan.traceable import selective_scan_traceable
from mlla.ops.tracing import is_tracing

_FLOAT_BYTES = 4
_KERNELS = {
    "cpu": ("CPU kernel, compiled by Numba", kernel.reason_unavailable),
    "cuda": ("Triton kernel, compiled", gpu.reason_unavailable),
}


def selective_scan(
    x: Float[Tensor, "B G L D"],
    delta: Float[Tensor, "B G L D"],
    A: Float[Tensor, "G D N"],
    B: Float[Tensor, "B G L N"],
    C: Float[Tensor, "B G L N"],
    D: Float[Tensor, "G D"],
) -> Float[Tensor, "B G L D"]:
    """Run the recurrence of a selective state space model over a sequence, fast.

    h_i = exp(delta_i A) h_(i-1) + delta_i B_i x_i and y_i = C_i h_i + D x_i, from h_0 = 0. The
    state is kept in float32, under autocast too, or in float64 for float64 input. On a CPU and on
    a GPU that Triton knows a kernel does it, whose first call compiles it for some seconds;
    elsewhere, in float64, and where `use_fast_paths(False)` says so it is `selective_scan_chunked`;
    a trace or an ONNX export records `selective_scan_traceable`.

    Args:
        x: Tokens of G independent sequences, such as the orders of `grid_scan`.
        delta: Positive step of every token and channel (after softplus).
        A: Negative rate of decay of every channel and state.
        B: How a token enters each state.
        C: How each state is read out.
        D: Weight of the token itself.

    Returns:
        The output of every token, in the dtype of `x`.

    Raises:
        ValueError: If the shapes do not fit, there is no token, or the devices differ.

    Source: arXiv 2312.00752, equations 2 and 4, with its simplified discretisation of B.
    """
    check_arguments(x, delta, A, B, C, D)
    inputs = (x, delta, A, B, C, D)
    if is_tracing() or torch.onnx.is_in_onnx_export():
        return selective_scan_traceable(*inputs)
    if x.dtype == torch.float64 or not _has_kernel(x.device.type):
        return selective_scan_chunked(*inputs)
    with without_autocast(x.device):
        # the GPU kernel widens numbers as it reads them
        ours = [t if t.is_cuda and t.itemsize <= _FLOAT_BYTES else t.float() for t in inputs]
        needs_gradients = torch.is_grad_enabled() and any(t.requires_grad for t in ours)
        return kernel.scan(*ours, needs_gradients)[0].to(x.dtype)


def active_form(device_type: str = "cpu") -> str:
    """Tell which form runs on a kind of device, and why.

    Args:
        device_type: As in `torch.device.type`.
    """
    if not fast_paths_enabled():
        return (
            "plain PyTorch, many times slower, because MLLA_FAST_PATHS=0 or use_fast_paths(False)"
        )
    if device_type not in _KERNELS:
        return "plain PyTorch: there is no kernel for this device"
    name, reason_unavailable = _KERNELS[device_type]
    reason = reason_unavailable()
    if reason:
        tool = "Numba" if device_type == "cpu" else "Triton"
        return f"plain PyTorch, many times slower, because {tool} does not work: {reason}"
    return f"{name} on its first call"


def _has_kernel(device_type: str) -> bool:
    # on the meta device the operator costs nothing and counts what it would cost
    device_type = "cpu" if device_type == "meta" else device_type
    if device_type not in _KERNELS or not fast_paths_enabled():
        return False
    return not _KERNELS[device_type][1]()
