"""The kernels for GPUs: on the CPU by Triton's interpreter, and on a GPU if there is one."""

import pytest
import torch

from mlla.ops import projected_linear_attention, projected_linear_attention_plain
from mlla.ops.linear_attention import active_form, operator
from run_python import run_python

# samples, height, width, heads, width of a head
SIZES = [(1, 1, 1, 2, 32), (2, 7, 28, 2, 32), (1, 3, 5, 3, 24), (2, 9, 4, 1, 64), (1, 5, 9, 2, 4)]
# largest allowed |ours - exact| / max(1, max |exact|)
TOLERANCE = {"float32": 1e-5, "bfloat16": 8e-3, "float16": 1e-3}

INTERPRETED = f"""
import torch
from mlla.ops.linear_attention import triton_kernels
from mlla.ops.linear_attention.by_samples import attend_by_samples, attend_by_samples_backward

# memory that nobody wrote to holds NaN
torch.use_deterministic_algorithms(True)
assert torch.empty(3).isnan().all()
torch.manual_seed(0)
for name, tolerance in {TOLERANCE}.items():
    dtype = getattr(torch, name)
    for batch, height, width, heads, head in {SIZES}:
        grid = batch, height, width
        query_key = torch.randn(*grid, 2 * heads * head).to(dtype)
        value, grad = torch.randn(2, *grid, heads * head).to(dtype)
        forward = triton_kernels.attend(query_key, value, heads, 1e-6)
        backward = triton_kernels.attend_backward(grad, query_key, value, *forward[1:], 1e-6)
        exact = [tensor.double() for tensor in (grad, query_key, value)]
        expected = attend_by_samples(*exact[1:], heads, 1e-6)
        expected += attend_by_samples_backward(*exact, *expected[1:], 1e-6)
        for ours, wanted in zip((*forward, *backward), expected, strict=True):
            error = (ours.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1)
            assert error <= tolerance, (name, grid, heads, head, float(error))
        assert forward[0].dtype == backward[0].dtype == backward[1].dtype == dtype
print("equal")
"""


def test_interpreted_kernels_equal_the_form_by_samples():
    pytest.importorskip("triton")
    assert run_python(INTERPRETED, TRITON_INTERPRET="1") == ["equal"]


def test_importing_the_operator_does_not_import_triton():
    code = "import sys, mlla.ops; print('mlla.ops.linear_attention.triton_kernels' in sys.modules)"
    assert run_python(code) == ["False"]


def test_what_runs_on_a_gpu_is_told():
    reason = operator.reason_without_triton()
    assert (reason or "Triton kernels") in active_form("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", TOLERANCE)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_on_a_gpu_the_operator_equals_the_plain_form(size, name):
    *grid, heads, head = size
    inputs = [
        torch.randn(*grid, factor * heads * head, device="cuda").to(getattr(torch, name))
        for factor in (2, 1)
    ]
    cotangent = torch.randn_like(inputs[1])
    assert operator._fits_triton(inputs[1], heads)
    results = []
    for attention, dtype in (
        (projected_linear_attention, inputs[0].dtype),
        (projected_linear_attention_plain, torch.float64),
    ):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in inputs]
        output = attention(*leaves, num_heads=heads)
        results.append([output, *torch.autograd.grad(output, leaves, cotangent.to(dtype))])
    for ours, wanted in zip(*results, strict=True):
        error = (ours.double() - wanted).abs().max() / wanted.abs().max().clamp(min=1)
        # products of half precision run in TF32
        assert error <= max(TOLERANCE[name], 2e-3 if name != "float32" else 0)
