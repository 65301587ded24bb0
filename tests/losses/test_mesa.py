import pytest
import torch
from scipy.special import log_softmax, softmax

from mlla.losses import mesa_loss


def test_mesa_is_the_cross_entropy_against_the_average():
    logits, average = torch.randn(2, 5, 7, dtype=torch.float64)
    expected = -(softmax(average.numpy(), axis=1) * log_softmax(logits.numpy(), axis=1)).sum(1)
    assert mesa_loss(logits, average).item() == pytest.approx(expected.mean())


def test_only_the_model_learns_from_mesa():
    logits, average = (torch.randn(4, 3, requires_grad=True) for _ in range(2))
    mesa_loss(logits, average).backward()
    assert logits.grad.abs().sum() > 0
    assert average.grad is None


def test_mesa_is_least_where_the_model_says_what_the_average_says():
    average = torch.randn(6, 4)
    least = mesa_loss(average, average)
    assert all(least < mesa_loss(average + 0.1 * torch.randn(6, 4), average) for _ in range(5))


def test_mesa_of_half_precision_is_computed_in_single():
    assert mesa_loss(torch.randn(2, 3).half(), torch.randn(2, 3).half()).dtype == torch.float32


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"logits .2, 3. and average_logits .2, 4."):
        mesa_loss(torch.zeros(2, 3), torch.zeros(2, 4))
