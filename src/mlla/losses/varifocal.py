"""Varifocal loss: positives weigh as much as their quality, easy background weighs less."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.losses.elementwise import check_alpha, check_gamma, check_reduction, precise, reduced


def varifocal_loss(
    logits: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    *,
    gamma: float = 2.0,
    alpha: float = 0.75,
    reduction: str = "none",
) -> Tensor:
    """Return binary cross-entropy weighed by q for targets q > 0, by alpha p^gamma for others.

    Args:
        logits: Scores before the sigmoid; p is their probability.
        targets: Quality q of each sample, in [0, 1]; 0 for background.
        gamma: How much easy background is weighed down; 0 or at least 1.
        alpha: Weight of background, in [0, 1].
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, in float32 at least.

    Raises:
        ValueError: If the shapes differ or an option makes no sense.

    Source: arXiv 2008.13367, section 3.2.
    """
    check_gamma(gamma)
    check_alpha(alpha)
    logits, targets = precise(logits, targets)
    loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    weight = torch.where(targets > 0, targets, alpha * logits.sigmoid().pow(gamma))
    return reduced(weight * loss, reduction)


class VarifocalLoss(nn.Module):
    """`varifocal_loss` as a module.

    Args:
        gamma: How much easy background is weighed down; 0 or at least 1.
        alpha: Weight of background, in [0, 1].
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: If an option makes no sense.
    """

    def __init__(self, *, gamma: float = 2.0, alpha: float = 0.75, reduction: str = "none") -> None:
        super().__init__()
        check_gamma(gamma)
        check_alpha(alpha)
        check_reduction(reduction)
        self.gamma = gamma
        self.alpha = alpha
        self.reduction = reduction

    def forward(self, logits: Float[Tensor, "*shape"], targets: Float[Tensor, "*shape"]) -> Tensor:
        """Return the loss of a batch."""
        return varifocal_loss(
            logits, targets, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction
        )
