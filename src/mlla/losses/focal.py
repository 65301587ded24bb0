"""Focal loss: easy samples weigh less."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.losses.elementwise import check_alpha, check_gamma, check_reduction, precise, reduced


def focal_loss(
    logits: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    *,
    gamma: float = 1.5,
    alpha: float = 0.25,
    reduction: str = "none",
) -> Tensor:
    """Return alpha_t (1 - p_t)^gamma times the binary cross-entropy.

    With p the predicted probability and t the target, p_t = t p + (1 - t)(1 - p) and
    alpha_t = t alpha + (1 - t)(1 - alpha).

    Args:
        logits: Scores before the sigmoid.
        targets: In [0, 1].
        gamma: How much easy samples are weighed down; 0 or at least 1. The paper has 2.
        alpha: Weight of positives, in [0, 1]; background has the rest.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, in float32 at least.

    Raises:
        ValueError: If the shapes differ or an option makes no sense.

    Source: arXiv 1708.02002, section 3; defaults as in the detectors of Ultralytics.
    """
    check_gamma(gamma)
    check_alpha(alpha)
    logits, targets = precise(logits, targets)
    loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # 1 - p_t, which differences of rounded probabilities could not give
    missed = targets * (-logits).sigmoid() + (1 - targets) * logits.sigmoid()
    balance = targets * alpha + (1 - targets) * (1 - alpha)
    return reduced(balance * missed.pow(gamma) * loss, reduction)


class FocalLoss(nn.Module):
    """`focal_loss` as a module.

    Args:
        gamma: How much easy samples are weighed down; 0 or at least 1.
        alpha: Weight of positives, in [0, 1].
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: If an option makes no sense.
    """

    def __init__(self, *, gamma: float = 1.5, alpha: float = 0.25, reduction: str = "none") -> None:
        super().__init__()
        check_gamma(gamma)
        check_alpha(alpha)
        check_reduction(reduction)
        self.gamma = gamma
        self.alpha = alpha
        self.reduction = reduction

    def forward(self, logits: Float[Tensor, "*shape"], targets: Float[Tensor, "*shape"]) -> Tensor:
        """Return the loss of a batch."""
        return focal_loss(
            logits, targets, gamma=self.gamma, alpha=self.alpha, reduction=self.reduction
        )
