"""Losses on class scores: values by hand, the same losses elsewhere, and what training needs."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from mlla.losses import (
    EMASlideLoss,
    FocalLoss,
    QualityFocalLoss,
    SlideLoss,
    VarifocalLoss,
    focal_loss,
    mean_of_positives,
    quality_focal_loss,
    slide_loss,
    slide_weight,
    varifocal_loss,
)

FUNCTIONS = [slide_loss, focal_loss, varifocal_loss, quality_focal_loss]
MODULES = [SlideLoss, EMASlideLoss, FocalLoss, VarifocalLoss, QualityFocalLoss]
bce = partial(functional.binary_cross_entropy_with_logits, reduction="none")
in_doubles = partial(torch.tensor, dtype=torch.float64)


def batch(dtype=torch.float64, shape=(2, 50, 3)):
    """Scores and targets as a detector has them: few positives, of any quality."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(shape, generator=generator, dtype=torch.float64)
    quality = torch.rand(shape, generator=generator, dtype=torch.float64)
    positive = torch.rand(shape, generator=generator) < 0.2
    return logits.to(dtype), torch.where(positive, quality, 0).to(dtype)


# -- values worked out by hand -----------------------------------------------------------------


def test_slide_by_hand():
    # at logit 0, binary cross-entropy is ln 2 whatever the target
    targets = in_doubles([0.0, 0.4, 0.41, 0.45, 0.5, 0.8, 1.0])
    weights = [1, 1, math.e**0.5, math.e**0.5, math.e**0.5, math.e**0.2, 1]
    torch.testing.assert_close(slide_weight(targets, 0.5), in_doubles(weights))
    loss = slide_loss(torch.zeros_like(targets), targets, 0.5)
    torch.testing.assert_close(loss, math.log(2) * in_doubles(weights))


def test_the_mean_of_slide_has_a_floor():
    targets = in_doubles([0.0, 0.05, 0.1, 0.11, 0.19, 0.2, 0.3])
    weights = in_doubles([1, 1, 1, math.e**0.8, math.e**0.8, math.e**0.8, math.e**0.7])
    for mean in (0.0, 0.1, 0.2):
        torch.testing.assert_close(slide_weight(targets, mean), weights)


def test_slide_takes_the_mean_of_the_positives():
    targets = in_doubles([[0.0, 0.2, 0.0], [0.6, 0.0, 0.7]])
    torch.testing.assert_close(mean_of_positives(targets), in_doubles(0.5))
    logits = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(slide_loss(logits, targets), slide_loss(logits, targets, 0.5))
    weights = in_doubles([[1, 1, 1], [math.e**0.4, 1, math.e**0.3]])
    torch.testing.assert_close(slide_loss(logits, targets), weights * bce(logits, targets))


def test_focal_by_hand():
    # p = 3/4 at logit ln 3
    logits = in_doubles([math.log(3), math.log(3), math.log(3)])
    targets = in_doubles([1.0, 0.0, 0.5])
    expected = [
        0.25 * 0.25**1.5 * math.log(4 / 3),
        0.75 * 0.75**1.5 * math.log(4),
        # p_t = 1/2, alpha_t = 1/2
        0.5 * 0.5**1.5 * 0.5 * (math.log(4 / 3) + math.log(4)),
    ]
    torch.testing.assert_close(focal_loss(logits, targets), in_doubles(expected))


def test_varifocal_by_hand():
    logits = in_doubles([math.log(3), math.log(3), -math.log(3)])
    targets = in_doubles([0.6, 0.0, 0.0])
    expected = [
        0.6 * (0.6 * math.log(4 / 3) + 0.4 * math.log(4)),
        0.75 * 0.75**2 * math.log(4),
        0.75 * 0.25**2 * math.log(4 / 3),
    ]
    torch.testing.assert_close(varifocal_loss(logits, targets), in_doubles(expected))


def test_quality_focal_by_hand():
    logits = in_doubles([math.log(3), math.log(3), math.log(3)])
    targets = in_doubles([1.0, 0.0, 0.75])
    expected = [0.25**2 * math.log(4 / 3), 0.75**2 * math.log(4), 0]
    torch.testing.assert_close(quality_focal_loss(logits, targets), in_doubles(expected))


# -- the same losses elsewhere -----------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize(("gamma", "alpha"), [(1.5, 0.25), (2.0, 0.6), (0.0, 0.5)])
def test_focal_is_that_of_torchvision(gamma, alpha, reduction):
    logits, targets = batch()
    ours = focal_loss(logits, targets, gamma=gamma, alpha=alpha, reduction=reduction)
    theirs = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction=reduction)
    torch.testing.assert_close(ours, theirs)


def test_without_their_weights_they_are_binary_cross_entropy():
    logits, targets = batch()
    plain = bce(logits, targets)
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0, alpha=0.5), plain / 2)
    torch.testing.assert_close(quality_focal_loss(logits, targets, gamma=0), plain)
    torch.testing.assert_close(
        varifocal_loss(logits, 0 * targets, gamma=0, alpha=1), bce(logits, 0 * targets)
    )
    # nothing lies above a mean of more than 1.1
    torch.testing.assert_close(slide_loss(logits, targets, 1.2), plain)


def test_quality_focal_of_hard_targets_is_focal_without_balance():
    logits, targets = batch()
    hard = targets.ceil()
    torch.testing.assert_close(
        quality_focal_loss(logits, hard), 2 * focal_loss(logits, hard, gamma=2, alpha=0.5)
    )


# -- what training needs -----------------------------------------------------------------------


@pytest.mark.parametrize("loss", FUNCTIONS)
def test_gradients(loss):
    logits, targets = batch(shape=(1, 12, 2))
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits)


@pytest.mark.parametrize("loss", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_extreme_scores_have_finite_losses_and_gradients(loss, dtype):
    logits = torch.tensor([-100.0, 100.0, 0.0], dtype=dtype).repeat_interleave(4).requires_grad_()
    targets = torch.tensor([0.0, 1.0, 0.5, 0.9], dtype=dtype).repeat(3)
    value = loss(logits, targets)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert (value >= 0).all()
    assert logits.grad.isfinite().all()
    # a miss costs about as much as its score is off, times a weight that is close to a constant
    assert value.max() > 20


@pytest.mark.parametrize("loss", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_nothing_but_its_input(loss, dtype):
    logits, targets = batch(dtype)
    expected = loss(logits.double(), targets.double(), reduction="sum")
    assert loss(logits, targets, reduction="sum").item() == pytest.approx(expected.item(), rel=1e-4)
    with torch.autocast("cpu", dtype=dtype):
        ours = loss(logits, targets, reduction="sum")
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("loss", FUNCTIONS)
def test_saturated_positives_still_differ(loss):
    # 1 - p is 0 in float32 from a logit of 17 on: the loss must not vanish before that
    logits, targets = torch.tensor([12.0, 16.0]), torch.ones(2)
    near, far = loss(logits, targets, reduction="none").tolist()
    assert near > far > 0


@pytest.mark.parametrize("loss", FUNCTIONS)
def test_a_batch_without_positives(loss):
    logits = torch.randn(2, 30, 4, requires_grad=True)
    targets = torch.zeros(2, 30, 4)
    value = loss(logits, targets, reduction="sum")
    value.backward()
    assert value.isfinite()
    # background learns to score less
    assert (logits.grad > 0).all()
    if loss is slide_loss:
        torch.testing.assert_close(value, bce(logits, targets).sum())


@pytest.mark.parametrize("loss", FUNCTIONS)
def test_a_perfect_score_is_where_the_loss_stands_still(loss):
    logits = torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(logits, logits.detach().sigmoid()).sum(), logits)
    if loss is not focal_loss:  # made for targets of 0 and 1
        torch.testing.assert_close(slope, torch.zeros(3, dtype=torch.float64))


# -- modules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_modules_take_the_place_of_binary_cross_entropy(module):
    logits, targets = batch(torch.float32)
    loss = module()
    each = loss(logits, targets)
    assert each.shape == nn.BCEWithLogitsLoss(reduction="none")(logits, targets).shape
    torch.testing.assert_close(module(reduction="sum")(logits, targets), each.sum())
    torch.testing.assert_close(module(reduction="mean")(logits, targets), each.mean())
    # Ultralytics weighs classes in place
    scores = logits.clone().requires_grad_()
    weighted = loss(scores, targets)
    weighted *= torch.tensor([1.0, 2.0, 0.5])
    weighted.sum().backward()
    assert scores.grad.isfinite().all()


@pytest.mark.parametrize(
    ("module", "function", "options"),
    [
        (SlideLoss, slide_loss, {}),
        (FocalLoss, focal_loss, {}),
        (FocalLoss, focal_loss, {"gamma": 3.0}),
        (FocalLoss, focal_loss, {"alpha": 0.9}),
        (VarifocalLoss, varifocal_loss, {}),
        (VarifocalLoss, varifocal_loss, {"gamma": 3.0}),
        (VarifocalLoss, varifocal_loss, {"alpha": 0.1}),
        (QualityFocalLoss, quality_focal_loss, {}),
        (QualityFocalLoss, quality_focal_loss, {"gamma": 3.0}),
    ],
)
def test_options_of_modules_are_those_of_functions_and_matter(module, function, options):
    logits, targets = batch()
    ours = module(**options)(logits, targets)
    torch.testing.assert_close(ours, function(logits, targets, **options))
    if options:
        assert not torch.allclose(ours, function(logits, targets))


@pytest.mark.parametrize("loss", [*MODULES, *FUNCTIONS])
def test_options_that_make_no_sense_are_refused(loss):
    call = loss if loss in MODULES else partial(loss, torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="reduction='batch' is unknown; choose from none, mean"):
        call(reduction="batch")
    if loss not in (SlideLoss, EMASlideLoss, slide_loss):
        for gamma in (0.5, -1.0):
            with pytest.raises(ValueError, match=f"gamma={gamma} must be 0 or at least 1"):
                call(gamma=gamma)
    if loss in (FocalLoss, VarifocalLoss, focal_loss, varifocal_loss):
        with pytest.raises(ValueError, match=r"alpha=1\.5 must be between 0 and 1"):
            call(alpha=1.5)


@pytest.mark.parametrize("loss", FUNCTIONS)
def test_shapes_must_agree(loss):
    with pytest.raises(ValueError, match="must be the same as input size"):
        loss(torch.zeros(2, 3), torch.zeros(2, 1))
