"""Where the fast operators of a CPU may run."""

import torch
from torch import Tensor

from mlla.ops.tracing import is_tracing

_DTYPES = (torch.float32, torch.bfloat16)


def takes_fast_path(x: Tensor) -> bool:
    """Tell whether oneDNN's fused operators and changes in place are right for an input.

    They are for plain inference on a CPU. They are not where PyTorch records what is computed,
    for gradients, a trace, an export or a compiler: those see ordinary operators, which they know.

    Args:
        x: What a layer is about to read.
    """
    return bool(
        type(x) is Tensor
        and x.is_cpu
        and x.dtype in _DTYPES
        and not (x.requires_grad and torch.is_grad_enabled())
        and not is_tracing()
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
    )
