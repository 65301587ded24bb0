"""Mamba-YOLO's ODSS and XSS blocks."""

import pytest
import torch
from torch import nn

from mlla.blocks import ODSSBlock, XSSBlock

BLOCKS = [lambda: ODSSBlock(6, 8), lambda: XSSBlock(6, 8, 2), lambda: XSSBlock(6, 6)]
IDS = ["odss", "xss", "xss-same-width"]
every_block = pytest.mark.parametrize("build", BLOCKS, ids=IDS)


@torch.no_grad()
@every_block
@pytest.mark.parametrize("size", [(1, 1), (7, 28), (5, 3), (1, 9)])
def test_any_size_gives_finite_grids(build, size):
    block = build().eval()
    output = block(torch.randn(2, *size, 6))
    assert output.shape == (2, *size, block.mlp.contract.out_features)
    assert output.isfinite().all()


@every_block
def test_every_weight_gets_a_gradient(build):
    block, grid = build(), torch.randn(2, 3, 5, 6, requires_grad=True)
    output = block(grid)
    (output * torch.randn_like(output)).sum().backward()
    without = [n for n, p in block.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # the mean over the batch takes a bias before the batch norm away; the authors have it too
    assert set(without) <= {"project.projection.bias"}
    assert grid.grad.isfinite().all()


@every_block
def test_one_image_has_the_gradients_it_has_in_a_batch(build):
    # PyTorch's batch norm is wrong for some strides of one image; those of grids are not among them
    block, image = build().eval(), torch.randn(1, 4, 5, 6)
    gradients = []
    for batch in (image.clone(), image.repeat(2, 1, 1, 1)):
        batch.requires_grad_()
        block.zero_grad()
        block(batch).square().sum().div(len(batch)).backward()
        gradients.append(
            [batch.grad[:1] * len(batch), *(p.grad.clone() for p in block.parameters())]
        )
    for alone, together in zip(*gradients, strict=True):
        torch.testing.assert_close(alone, together, rtol=1e-3, atol=1e-5)


@torch.no_grad()
@every_block
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_no_nan(build, dtype):
    block, grid = build().eval(), 20 * torch.randn(1, 9, 14, 6)
    with torch.autocast("cpu", dtype):
        output = block(grid)
    assert output.isfinite().all()
    error = (output.float() - block(grid)).abs().max() / block(grid).abs().max()
    assert error < 0.1


@torch.no_grad()
@every_block
def test_the_layout_of_the_memory_does_not_matter(build):
    block = build().eval()
    grid = torch.randn(2, 4, 7, 6)
    other = grid.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    torch.testing.assert_close(block(other), block(grid))


@torch.no_grad()
def test_the_xss_block_scans_as_often_as_told():
    assert len(XSSBlock(6, 6, 3).scans) == 3
    once, twice = XSSBlock(6, 6, 1).eval(), XSSBlock(6, 6, 2).eval()
    twice.load_state_dict(once.state_dict(), strict=False)
    grid = torch.randn(1, 4, 5, 6)
    assert not torch.allclose(once(grid), twice(grid), atol=1e-3)


def test_the_xss_block_projects_only_where_widths_differ():
    assert isinstance(XSSBlock(6, 6).project, nn.Identity)
    assert XSSBlock(6, 8).project.projection.bias is None
    assert ODSSBlock(6, 6).project.projection.bias is not None


def test_an_xss_block_without_a_scan_is_refused():
    with pytest.raises(ValueError, match="num_scans=0"):
        XSSBlock(6, 6, 0)
