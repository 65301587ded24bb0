"""Gradients of a whole model, and that the layout of the memory cannot change them.

Batches of one are singled out because PyTorch's batch norm (2.15, CPU, evaluation mode) returns
wrong gradients for them when the strides are those of the authors' tensors.
"""

import pytest
import torch
from torch.autograd import gradcheck

from mlla.models import MLLA


@pytest.fixture
def model():
    net = MLLA(8, (1, 1), (1, 2), num_classes=3).eval()
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(norm.weight, 0.5, 2)
            torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    return net


@pytest.mark.parametrize("size", [(16, 24), (9, 13)])
def test_one_image_passes_gradcheck(model, size):
    image = torch.randn(1, 3, *size, dtype=torch.float64, requires_grad=True)
    assert gradcheck(model.double(), image, fast_mode=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_one_image_has_the_gradients_it_has_in_a_batch(model, memory_format):
    image = torch.randn(1, 3, 20, 28)
    twice = image.expand(2, -1, -1, -1).contiguous(memory_format=memory_format)
    gradients = []
    for batch in (image.contiguous(memory_format=memory_format), twice):
        batch.requires_grad_()
        model.zero_grad()
        model(batch).square().sum().div(len(batch)).backward()
        gradients.append(
            [batch.grad[0] * len(batch), *(p.grad.clone() for p in model.parameters())]
        )
    for alone, together in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_memory_format_of_the_image_does_not_matter(model):
    image = torch.randn(2, 3, 33, 18)
    expected = model(image)
    torch.testing.assert_close(model(image.contiguous(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(model(image.mT.contiguous().mT), expected)
    torch.testing.assert_close(model.to(memory_format=torch.channels_last)(image), expected)
