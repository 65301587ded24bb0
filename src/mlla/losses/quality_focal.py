"""Quality focal loss: what is predicted close to its target weighs less."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.losses.elementwise import check_gamma, check_reduction, precise, reduced


def quality_focal_loss(
    logits: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    *,
    gamma: float = 2.0,
    reduction: str = "none",
) -> Tensor:
    """Return |t - p|^gamma times the binary cross-entropy, p the probability and t the target.

    Args:
        logits: Scores before the sigmoid.
        targets: Quality t of each sample, in [0, 1]; 0 for background.
        gamma: How much good predictions are weighed down; 0 or at least 1. The paper says beta.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, in float32 at least.

    Raises:
        ValueError: If the shapes differ or an option makes no sense.

    Source: arXiv 2006.04388, section 3.1.
    """
    check_gamma(gamma)
    logits, targets = precise(logits, targets)
    loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # t - p, written so that neither p close to 0 nor p close to 1 is rounded away
    distance = targets * (-logits).sigmoid() - (1 - targets) * logits.sigmoid()
    return reduced(distance.abs().pow(gamma) * loss, reduction)


class QualityFocalLoss(nn.Module):
    """`quality_focal_loss` as a module.

    Args:
        gamma: How much good predictions are weighed down; 0 or at least 1.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: If an option makes no sense.
    """

    def __init__(self, *, gamma: float = 2.0, reduction: str = "none") -> None:
        super().__init__()
        check_gamma(gamma)
        check_reduction(reduction)
        self.gamma = gamma
        self.reduction = reduction

    def forward(self, logits: Float[Tensor, "*shape"], targets: Float[Tensor, "*shape"]) -> Tensor:
        """Return the loss of a batch."""
        return quality_focal_loss(logits, targets, gamma=self.gamma, reduction=self.reduction)
