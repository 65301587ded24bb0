"""The Triton kernel against the reference: on a GPU where there is one, else interpreted."""

import os
import subprocess
import sys

import pytest
import torch

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.selective_scan import active_form

HAS_GPU = torch.cuda.is_available()
IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
runs_kernels = pytest.mark.skipif(
    not HAS_GPU and not IS_INTERPRETED, reason="needs a GPU; interpreted by another test"
)
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
DEVICE = "cuda" if HAS_GPU and not IS_INTERPRETED else "cpu"
# batch, groups, tokens, channels, states, tokens of a chunk
SIZES = [
    *[(1, 1, 1, 1, 1, 8), (2, 2, 8, 3, 2, 8), (1, 3, 11, 5, 3, 4), (1, 1, 21, 9, 1, 8)],
    *[(1, 1, 38, 2, 2, 2)],
]
NAMES = ("output", "x", "delta", "A", "B", "C", "D")


@pytest.fixture(autouse=True)
def _small_programs(monkeypatch):
    """Interpreted, a scan takes its elements one by one, those that only fill a tile, too."""
    if IS_INTERPRETED:
        from mlla.ops.selective_scan import triton_scan

        for name, size in {"_CHANNELS": 4, "_BACKWARD_CHANNELS": 2, "_JOINED": 4}.items():
            monkeypatch.setattr(triton_scan, name, size)


def draw(batch, groups, length, width, states, dtype=torch.float32):
    inputs = [
        *(torch.randn(batch, groups, length, width), torch.rand(batch, groups, length, width)),
        *(-3 * torch.rand(groups, width, states), torch.randn(batch, groups, length, states)),
        *(torch.randn(batch, groups, length, states), torch.randn(groups, width)),
    ]
    return [tensor.to(DEVICE, dtype) for tensor in inputs]


def compare(inputs, tokens, tolerance):
    from mlla.ops.selective_scan.triton_scan import triton_backward, triton_forward

    exact = [tensor.double().requires_grad_() for tensor in inputs]
    expected = selective_scan_reference(*exact)
    cotangent = torch.randn(expected.shape, device=DEVICE).to(inputs[0].dtype)
    wanted = torch.autograd.grad(expected, exact, cotangent.double())
    y, states = triton_forward(*inputs, tokens)
    gradients = triton_backward(cotangent, *inputs, states, tokens)
    for name, ours, theirs, given in zip(
        NAMES, (y, *gradients), (expected, *wanted), (inputs[0], *inputs), strict=True
    ):
        assert ours.dtype == given.dtype, name
        assert ours.shape == theirs.shape, name
        error = (ours.double() - theirs).abs().max() / theirs.abs().max().clamp(min=1)
        assert error <= tolerance, name


@runs_kernels
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_reference_in_output_and_every_gradient(size):
    compare(draw(*size[:5]), size[5], 3e-6)


@runs_kernels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_rounded_only_at_the_ends(dtype):
    compare(draw(1, 2, 9, 3, 2, dtype), 4, torch.finfo(dtype).eps)


@runs_kernels
@pytest.mark.parametrize("steps", [0.0, 1e4], ids=["frozen", "forgetful"])
def test_decays_of_any_strength(steps):
    inputs = draw(1, 1, 11, 3, 2)
    inputs[1] = torch.full_like(inputs[1], min(steps, 1.0))
    inputs[2] = -max(steps, 1.0) * torch.ones_like(inputs[2])
    compare(inputs, 4, 3e-6)


@runs_kernels
def test_layout_of_the_memory_does_not_matter():
    inputs = draw(1, 2, 9, 4, 3)
    turned = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    compare(turned, 4, 3e-6)


@runs_kernels
def test_a_batch_of_none():
    from mlla.ops.selective_scan.triton_scan import triton_backward, triton_forward

    inputs = draw(0, 2, 9, 4, 3)
    y, states = triton_forward(*inputs)
    gradients = triton_backward(y, *inputs, states)
    assert y.shape == (0, 2, 9, 4)
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(("length", "expected"), [(32, 1), (33, 3), (25600, 3)])
def test_a_scan_starts_few_programs_whatever_its_length(monkeypatch, length, expected):
    pytest.importorskip("triton")
    from mlla.ops.selective_scan import triton_scan

    started = []

    class Kernel:
        def __getitem__(self, grid):
            return lambda *_, **__: started.append(grid)

    class Kernels:
        def __getattr__(self, name):
            return Kernel()

    monkeypatch.setattr(triton_scan, "triton_kernels", Kernels())
    inputs = draw(1, 1, length, 2, 1)
    y, states = triton_scan.triton_forward(*inputs)
    assert len(started) == expected
    triton_scan.triton_backward(y, *inputs, states)
    assert len(started) == 2 * expected


@needs_gpu
def test_it_is_what_runs_on_a_gpu():
    assert active_form("cuda").startswith("Triton kernel")
    inputs = [tensor.requires_grad_() for tensor in draw(2, 4, 100, 40, 16)]
    with torch.profiler.profile() as profile:
        selective_scan(*inputs).sum().backward()
    launched = {event.key for event in profile.key_averages()}
    assert {"mlla::selective_scan", "mlla::selective_scan_backward"} <= launched


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_does_not_reach_the_scan(dtype):
    inputs = [tensor.requires_grad_() for tensor in draw(2, 4, 100, 40, 16)]
    expected = selective_scan(*inputs)
    wanted = torch.autograd.grad(expected.sum(), inputs)
    with torch.autocast("cuda", dtype=dtype):
        ours = selective_scan(*inputs)
        gradients = torch.autograd.grad(ours.sum(), inputs)
    for mine, theirs in zip((ours, *gradients), (expected, *wanted), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs)


@needs_gpu
def test_compiles_without_a_graph_break():
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager")
    inputs = [tensor.requires_grad_() for tensor in draw(1, 2, 40, 10, 3)]
    ours, expected = compiled(*inputs), selective_scan(*inputs)
    torch.testing.assert_close(ours, expected)
    mine, theirs = (torch.autograd.grad(y.sum(), inputs) for y in (ours, expected))
    torch.testing.assert_close(mine, theirs)


@needs_gpu
def test_long_sequences():
    compare(draw(1, 2, 25600, 40, 4), 32, 1e-5)


@pytest.mark.skipif(IS_INTERPRETED, reason="is what starts the interpreter")
def test_interpreted_on_the_cpu():
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", __file__]
    process = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=550,
    )
    assert process.returncode == 0, process.stdout[-3000:]
    assert "passed" in process.stdout
