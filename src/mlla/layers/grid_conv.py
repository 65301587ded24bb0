"""Convolutions on channels-last grids without copies."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.plain_module import is_plain
from mlla.ops.depthwise import depthwise_conv
from mlla.ops.fast_paths import may_run_fast_path
from mlla.ops.precision import is_autocast, without_autocast


def convolve_grid(conv: nn.Module, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
    """Apply an NCHW module to a grid.

    A contiguous grid viewed as NCHW is a channels-last tensor, which convolutions take as it is.
    """
    return conv(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def relu_of_convolved(conv: nn.Module, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
    """Return ReLU of a convolved grid, written over it where nobody else sees that."""
    if not (may_run_fast_path() and is_plain(conv, nn.Conv2d)):
        return functional.relu(convolve_grid(conv, grid))
    # before the axes change places: changing a view in place costs a copy of its gradient
    return functional.relu_(conv(grid.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)


def add_convolved(conv: nn.Module, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
    """Return the grid plus its depthwise convolution with a kernel of 3 x 3.

    On a CPU it is one convolution, whose kernels have one more in the middle; under autocast in
    the precision of the grid, since half precision would round the grid itself.
    """
    may_fold = grid.device.type == "cpu" and grid.dtype in (torch.float32, torch.float64)
    if not (may_fold and may_run_fast_path() and is_plain(conv, nn.Conv2d)):
        return grid + convolve_grid(conv, grid)
    assert isinstance(conv, nn.Conv2d)
    middle = conv.weight.new_zeros(3, 3)
    middle[1, 1] = 1
    with without_autocast(grid.device):
        image = grid.permute(0, 3, 1, 2)
        weight = conv.weight + middle
        convolved = functional.conv2d(image, weight, conv.bias, padding=1, groups=conv.groups)
        return convolved.permute(0, 2, 3, 1)


def reduce_grid(conv: nn.Module, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
    """Apply a depthwise convolution with a stride to a grid, fast under a CPU's autocast, too."""
    halves = grid.device.type == "cpu" and is_autocast(grid.device)
    if not (halves and may_run_fast_path() and is_plain(conv, nn.Conv2d)):
        return convolve_grid(conv, grid)
    assert isinstance(conv, nn.Conv2d)
    return depthwise_conv(grid, conv.weight, conv.bias, conv.stride, conv.padding)


def depthwise_conv3x3(channels: int, *, stride: int = 1) -> nn.Conv2d:
    """Build the 3x3 depthwise convolution that MLLA uses for positions and local mixing."""
    return nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels)
