"""Keeping sums over many tokens out of half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return a context in which autocast does not undo a cast at the next matrix product.

    Args:
        device: Where the tensors are; some, such as `meta`, know no autocast.

    Returns:
        The context.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def is_autocast(device: torch.device) -> bool:
    """Return whether autocast is on for a device; some, such as `meta`, know none."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
