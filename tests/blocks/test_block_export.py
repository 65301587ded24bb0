"""Compilers and exporters must keep height and width open and find no graph break."""

import warnings

import pytest
import torch
from torch.export import Dim, export

from mlla.blocks import MLLABlock
from mlla.layers import Downsample, Stem
from mlla.ops import linear_attention

OTHER_SIZES = [(5, 11), (8, 2), (14, 6)]

# tracing is deprecated in PyTorch, and still what ONNX exports of detectors go through
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")


@torch.no_grad()
def test_export_keeps_height_and_width_open():
    block = MLLABlock(8, 2).eval()
    sizes = {0: Dim("batch"), 1: Dim("height"), 2: Dim("width")}
    exported = export(block, (torch.randn(2, 6, 8, 8),), dynamic_shapes=(sizes,)).module()
    for size in OTHER_SIZES:
        x = torch.randn(3, *size, 8)
        torch.testing.assert_close(exported(x), block(x))


@torch.no_grad()
@pytest.mark.parametrize("module", [MLLABlock(8, 2), Downsample(8, 4)], ids=["block", "downsample"])
def test_trace_keeps_height_and_width_open_without_warnings(module):
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(module.eval(), torch.randn(2, 6, 8, 8))
    for size in [*OTHER_SIZES, (1, 1)]:
        x = torch.randn(3, *size, 8)
        torch.testing.assert_close(traced(x), module(x))


@torch.no_grad()
def test_trace_of_the_stem_keeps_height_and_width_open():
    stem = Stem(3, 8).eval()
    traced = torch.jit.trace(stem, torch.randn(2, 3, 16, 24))
    for size in [(13, 30), (32, 8), (1, 1)]:
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(traced(image), stem(image))


def test_compile_finds_one_graph_for_all_sizes():
    torch._dynamo.reset()
    graphs = []

    def count(graph, _):
        graphs.append(graph)
        return graph

    block = MLLABlock(8, 2)
    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend=count)
    for size in OTHER_SIZES:
        x = torch.randn(2, *size, 8, requires_grad=True)
        torch.testing.assert_close(compiled(x), block(x))
    assert len(graphs) == 1


def test_compile_under_autocast_finds_no_graph_break():
    torch._dynamo.reset()
    block = MLLABlock(8, 2)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    x = torch.randn(1, 4, 6, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        # the plain operations that are compiled round to bfloat16 in other places
        torch.testing.assert_close(compiled(x), block(x), rtol=0, atol=0.03)


@pytest.mark.slow
def test_inductor_returns_the_same_output_and_gradients():
    torch._dynamo.reset()
    compiled = torch.compile(linear_attention, fullgraph=True, dynamic=True)
    for size in OTHER_SIZES:
        inputs = [torch.rand(2, *size, 8, requires_grad=True) for _ in range(3)]
        expected, ours = (attend(*inputs, num_heads=2) for attend in (linear_attention, compiled))
        torch.testing.assert_close(ours, expected)
        for mine, theirs in zip(
            torch.autograd.grad(ours.square().sum(), inputs),
            torch.autograd.grad(expected.square().sum(), inputs),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
