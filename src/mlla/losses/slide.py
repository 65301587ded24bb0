"""Slide loss: samples near and above the mean overlap weigh more."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.losses.elementwise import check_reduction, precise, reduced

# a mean of poor overlaps would raise everything; and what lies this far below the mean is plain
SMALLEST_MEAN, MARGIN = 0.2, 0.1


def mean_of_positives(targets: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Return the mean of the targets above zero; 0 if there is none."""
    (targets,) = precise(targets.detach())
    positive = targets > 0
    return torch.where(positive, targets, 0).sum() / positive.sum().clamp(min=1)


def slide_weight(
    targets: Float[Tensor, "*shape"], mean_overlap: Float[Tensor, ""] | float
) -> Float[Tensor, "*shape"]:
    """Weigh targets t by where they lie relative to the mean overlap mu of the positives.

    The weight is 1 for t <= mu - 0.1, e^(1 - mu) for mu - 0.1 < t < mu and e^(1 - t) for t >= mu.

    Args:
        targets: Overlap of each sample with its object, in [0, 1]; 0 for background.
        mean_overlap: mu, in [0, 1]; taken as 0.2 where it is smaller.

    Returns:
        Weights in [1, e^0.8], which carry no gradient.

    Source: arXiv 2208.02019, section 3.5 and its code as of v1.0.0.
    """
    (targets,) = precise(targets.detach())
    mean = torch.as_tensor(mean_overlap, dtype=targets.dtype, device=targets.device)
    mean = mean.detach().clamp(min=SMALLEST_MEAN)
    near = torch.where(targets > mean - MARGIN, (1 - mean).exp(), 1.0)
    return torch.where(targets >= mean, (1 - targets).exp(), near)


def slide_loss(
    logits: Float[Tensor, "*shape"],
    targets: Float[Tensor, "*shape"],
    mean_overlap: Float[Tensor, ""] | float | None = None,
    *,
    reduction: str = "none",
) -> Tensor:
    """Return binary cross-entropy weighed by `slide_weight`.

    Args:
        logits: Scores before the sigmoid.
        targets: Overlap of each sample with its object, in [0, 1]; 0 for background.
        mean_overlap: mu; by default the mean of the targets above zero.
        reduction: "none", "mean" or "sum".

    Returns:
        The loss, in float32 at least.

    Raises:
        ValueError: If the shapes differ or `reduction` is unknown.

    Source: arXiv 2208.02019, section 3.5.
    """
    logits, targets = precise(logits, targets)
    if mean_overlap is None:
        mean_overlap = mean_of_positives(targets)
    loss = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return reduced(loss * slide_weight(targets, mean_overlap), reduction)


class SlideLoss(nn.Module):
    """`slide_loss` whose mean is that of the batch.

    Args:
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: If `reduction` is unknown.
    """

    def __init__(self, *, reduction: str = "none") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction

    def forward(self, logits: Float[Tensor, "*shape"], targets: Float[Tensor, "*shape"]) -> Tensor:
        """Return the loss of a batch."""
        return slide_loss(logits, targets, reduction=self.reduction)
