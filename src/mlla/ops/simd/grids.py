"""Grids of PyTorch for loops of Numba."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mlla.ops.simd.workers import share_tasks

# numbers of a grid that are done before another thread is awake
_SMALL = 2**19


def as_array(tensor: Tensor) -> Any:
    """Return the numbers of a tensor, contiguous; bfloat16, which NumPy lacks, as int16.

    Args:
        tensor: Float32 or bfloat16, on the CPU. What is to be written to must be contiguous.
    """
    bits = tensor.detach().contiguous()
    return (bits.view(torch.int16) if bits.dtype == torch.bfloat16 else bits).numpy()


def share_rows(loop: Callable[..., object], grid: Tensor, *arguments: Any) -> None:
    """Call `loop(*arguments, first, last)` for all rows of a grid, in threads if it is large.

    Args:
        loop: Does the rows from `first` on, up to `last`.
        grid: The grid (B, H, W, C), whose rows are counted through all samples.
        arguments: What the loop takes first.
    """
    num_rows = grid.shape[0] * grid.shape[1]
    share_tasks(
        lambda first, last: loop(*arguments, first, last),
        num_rows,
        is_small=grid.numel() < _SMALL,
    )
