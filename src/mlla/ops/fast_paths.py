"""The one switch of the forms that train faster and save less for the backward pass."""

import os

import torch

from mlla.ops.tracing import is_tracing

_VARIABLE = "MLLA_FAST_PATHS"
_state = {"enabled": os.environ.get(_VARIABLE, "1") != "0"}


def use_fast_paths(enabled: bool) -> None:
    """Turn the fast forms of this process on or off.

    They are on unless the environment variable MLLA_FAST_PATHS is 0. What they compute is the same
    up to rounding; off, every layer runs operations of PyTorch one after the other.

    Args:
        enabled: Whether layers may run them.
    """
    _state["enabled"] = enabled


def fast_paths_enabled() -> bool:
    """Tell whether the fast forms are turned on."""
    return _state["enabled"]


def may_run_fast_path() -> bool:
    """Tell whether a fast form may run here: turned on, and nothing records the operations.

    Exports need plain operations, and `torch.compile` fuses plain ones itself.
    """
    is_recorded = torch.compiler.is_compiling() or is_tracing() or torch.onnx.is_in_onnx_export()
    return _state["enabled"] and not is_recorded
