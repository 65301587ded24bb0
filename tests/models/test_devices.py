"""The model on a GPU; skipped where there is none."""

import pytest
import torch

from mlla.models import MLLA
from mlla.ops import linear_attention, linear_attention_reference

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
# as on the CPU, with TF32 off
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3, torch.float16: 1e-3}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (7, 28), (20, 80)])
def test_attention_equals_the_reference_on_the_cpu(size, dtype):
    shape = (2, *size, 8)
    inputs = [torch.rand(shape) + 0.05, torch.rand(shape) + 0.05, torch.randn(shape)]
    inputs = [grid.to(dtype) for grid in inputs]
    ours = linear_attention(*(grid.cuda() for grid in inputs), num_heads=2).cpu().double()
    expected = linear_attention_reference(*(grid.double() for grid in inputs), num_heads=2)
    error = (ours - expected).abs().max() / expected.abs().max().clamp(min=1)
    assert error <= TOLERANCE[dtype]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_equal_the_cpu(memory_format):
    model = MLLA(16, (1, 1), (1, 2), num_classes=5).eval()
    image = torch.randn(1, 3, 37, 64).contiguous(memory_format=memory_format)
    results = []
    for device in ("cpu", "cuda"):
        model = model.to(device)
        model.zero_grad()
        logits = model(image.to(device))
        logits.square().sum().backward()
        results.append([logits.cpu(), *(p.grad.cpu().clone() for p in model.parameters())])
    for cpu, cuda in zip(*results, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_large_map_stays_finite_under_autocast(dtype):
    model = MLLA(16, (1, 1), (1, 2), num_classes=5).cuda()
    with torch.autocast("cuda", dtype=dtype):
        logits = model(100 * torch.randn(2, 3, 640, 640, device="cuda"))
    logits.mean().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())
