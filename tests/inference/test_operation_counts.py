"""An optimized block makes no more operations and copies than it did when it was measured."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mlla
from mlla.blocks import MLLABlock
from mlla.ops import use_fast_paths

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


@pytest.fixture(params=["loops", "plain operators"])
def has_loops(request: pytest.FixtureRequest) -> Iterator[bool]:
    use_fast_paths(request.param == "loops")
    yield request.param == "loops"
    use_fast_paths(True)


def test_an_optimized_block_copies_no_grid(has_loops: bool) -> None:
    x = torch.randn(1, 20, 20, 64)
    counts = counted(mlla.optimize(MLLABlock(64, 2)), x)
    # without loops, rotations as complex numbers of half the width
    assert counts.copied <= (0 if has_loops else x.numel() // 2)
    assert counts.operations.total() <= (25 if has_loops else 34)


def test_linear_layers_and_convolutions_do_their_activations(has_loops: bool) -> None:
    after = counted(mlla.optimize(MLLABlock(64, 2)), torch.randn(1, 8, 8, 64)).operations
    # with loops, input and gate are one layer
    assert after["_linear_pointwise"] == (5 if has_loops else 6)
    assert after["_convolution_pointwise"] == (0 if has_loops else 4)
    for name in ("silu", "gelu", "linear", "addmm", "convolution", "conv2d", "cat"):
        assert after[name] == (name == "cat" and not has_loops), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_whole_model_copies_little(dtype: torch.dtype, has_loops: bool) -> None:
    model = mlla.MLLA(64, (1, 1, 1, 1), (2, 4, 8, 16), num_classes=7)
    image = torch.rand(1, 3, 64, 64, dtype=dtype)
    counts = counted(mlla.optimize(model, dtype=dtype), image)
    grid = sum(side**2 * width for side, width in {16: 64, 8: 128, 4: 256, 2: 512}.items())
    # the image to channels last, rotations of half the width, and what is summed in float32
    halves = {True: 0, False: 1}[has_loops]
    if dtype == torch.bfloat16:
        halves += 2 if has_loops else 8
    assert counts.copied <= image.numel() + halves * grid // 2
    assert counts.operations.total() <= (123 if has_loops else 163)
