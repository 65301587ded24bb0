"""Grids of PyTorch for loops of Numba."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mlla.ops.simd.workers import share_tasks

# numbers of a grid that are done before another thread is awake
_SMALL = 2**15


def as_array(tensor: Tensor) -> Any:
    """Return the numbers of a tensor, contiguous; bfloat16, which NumPy lacks, as int16.

    Args:
        tensor: Float32 or bfloat16, on the CPU. What is to be written to must be contiguous.
    """
    bits = tensor.contiguous()
    bits = bits.detach() if bits.requires_grad else bits
    return (bits.view(torch.int16) if bits.dtype == torch.bfloat16 else bits).numpy()


def share_rows(loop: Callable[..., object], grid: Tensor, *arguments: Any) -> None:
    """Call `loop(team, *arguments)` for all rows of a grid, in threads if it is large.

    Args:
        loop: Shares rows among a team (`mlla.ops.simd.workers.share_tasks`).
        grid: The grid (B, H, W, C), whose rows are counted through all samples.
        arguments: What the loop takes then.
    """
    num_rows = grid.shape[0] * grid.shape[1]
    share_tasks(lambda team: loop(team, *arguments), num_rows, is_small=grid.numel() < _SMALL)
