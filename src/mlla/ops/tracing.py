"""Whether sizes are being recorded instead of computed."""

import torch


def is_tracing() -> bool:
    """Tell whether `torch.jit.trace`, and with it the ONNX exporter, records sizes as tensors.

    Python branches on such sizes are frozen at the traced resolution, with a warning each.
    """
    return torch.jit.is_tracing()  # type: ignore[attr-defined]
