"""An optimized block makes no more operations and copies than it did when it was measured."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mlla
from mlla.blocks import MLLABlock

# what moves a whole grid without computing
COPIES = ("clone", "copy_", "_to_copy", "cat", "contiguous")
VIEWS = (
    *("view", "reshape", "permute", "transpose", "slice", "select", "split", "unsqueeze", "t"),
    *("expand", "alias", "flatten", "unflatten", "as_strided", "detach", "_unsafe_view"),
    *("view_as_complex", "view_as_real", "squeeze", "split_with_sizes", "chunk", "_reshape_alias"),
)


class Counts(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.copied = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = str(function.overloadpacket).rpartition(".")[2]
        if name not in VIEWS:
            self.operations[name] += 1
        if name in COPIES and isinstance(result, torch.Tensor):
            self.copied += result.numel()
        return result


def counted(module: torch.nn.Module, x: torch.Tensor) -> Counts:
    with torch.no_grad():
        # the first pass keeps angles
        module(x)
        with Counts() as counts:
            module(x)
    return counts


def test_an_optimized_block_copies_no_grid() -> None:
    x = torch.randn(1, 20, 20, 64)
    counts = counted(mlla.optimize(MLLABlock(64, 2)), x)
    # of the rotations, complex numbers of half the width
    assert counts.copied <= x.numel() // 2
    assert counts.operations.total() <= 34


def test_linear_layers_and_convolutions_do_their_activations() -> None:
    after = counted(mlla.optimize(MLLABlock(64, 2)), torch.randn(1, 8, 8, 64)).operations
    assert after["_linear_pointwise"] == 6
    assert after["_convolution_pointwise"] == 4
    for name in ("silu", "gelu", "linear", "addmm", "convolution", "conv2d", "cat"):
        assert after[name] == (name == "cat"), name


@pytest.mark.parametrize(("dtype", "grids"), [(torch.float32, 0), (torch.bfloat16, 4)], ids=str)
def test_a_whole_model_copies_little(dtype: torch.dtype, grids: int) -> None:
    model = mlla.MLLA(16, (1, 1, 1, 1), (1, 2, 2, 4), num_classes=7)
    image = torch.rand(1, 3, 64, 64, dtype=dtype)
    counts = counted(mlla.optimize(model, dtype=dtype), image)
    grid = sum(side**2 * width for side, width in {16: 16, 8: 32, 4: 64, 2: 128}.items())
    # the image to channels last, rotations of half the width, and what is summed in float32
    assert counts.copied <= image.numel() + grid // 2 + grids * grid
    assert counts.operations.total() <= 163
