"""Which form of the selective scan runs: the CPU kernel, or plain PyTorch."""

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.precision import without_autocast
from mlla.ops.selective_scan import kernel
from mlla.ops.selective_scan.arguments import check_arguments
from mlla.ops.selective_scan.chunked import selective_scan_chunked
from mlla.ops.selective_scan.traceable import selective_scan_traceable
from mlla.ops.tracing import is_tracing


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
    state is kept in float32, under autocast too, or in float64 for float64 input. On a CPU a
    compiled kernel does it, whose first call compiles it for some seconds; elsewhere, in float64
    and without Numba it is `selective_scan_chunked`; a trace or an ONNX export records
    `selective_scan_traceable`.

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
    # on the meta device the operator costs nothing and counts what it would cost
    has_kernel = x.device.type in ("cpu", "meta") and x.dtype != torch.float64
    if not has_kernel or kernel.reason_unavailable():
        return selective_scan_chunked(*inputs)
    with without_autocast(x.device):
        floats = [tensor.float() for tensor in inputs]
        needs_gradients = torch.is_grad_enabled() and any(t.requires_grad for t in floats)
        return kernel.scan(*floats, needs_gradients)[0].to(x.dtype)


def active_form() -> str:
    """Tell which form runs on the CPU, and why."""
    reason = kernel.reason_unavailable()
    if reason:
        return f"plain PyTorch, many times slower, because Numba does not work: {reason}"
    return "CPU kernel, compiled by Numba on its first call"
