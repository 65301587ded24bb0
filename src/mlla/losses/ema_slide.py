"""Slide loss around a mean that moves slowly from batch to batch."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.losses.elementwise import check_reduction
from mlla.losses.slide import mean_of_positives, slide_loss


class EMASlideLoss(nn.Module):
    """`slide_loss` whose mean is an exponential moving average over batches.

    After n batches with positives, the average keeps the share `decay` (1 - e^(-n / tau)) of itself
    for the next: the first batch sets it, and it slows down with time. Batches without positives
    and those seen in evaluation mode leave it as it is.

    The average is no buffer, since `half()` would round it; it is part of the state dict.

    Args:
        decay: Share that the average keeps in the long run, in [0, 1).
        tau: Number of batches in which it slows down to 63 % of that.
        reduction: "none", "mean" or "sum".

    Raises:
        ValueError: If `decay`, `tau` or `reduction` makes no sense.
    """

    def __init__(
        self, *, decay: float = 0.999, tau: float = 2000.0, reduction: str = "none"
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must be in [0, 1); 0.999 is usual")
        if not tau > 0:
            raise ValueError(f"tau={tau} must be a positive number of batches, such as 2000")
        check_reduction(reduction)
        self.decay = decay
        self.tau = tau
        self.reduction = reduction
        self.mean_overlap = torch.zeros(())
        self.num_updates = torch.zeros(())

    def forward(self, logits: Float[Tensor, "*shape"], targets: Float[Tensor, "*shape"]) -> Tensor:
        """Return the loss of a batch, after the average saw it."""
        if self.training:
            self._update(targets)
        return slide_loss(logits, targets, self.mean_overlap, reduction=self.reduction)

    def _update(self, targets: Tensor) -> None:
        # all of it on the device, which would otherwise wait for the host
        mean, count = (t.to(targets.device) for t in (self.mean_overlap, self.num_updates))
        observed = mean_of_positives(targets).float()
        has_positives = observed > 0
        kept = self.decay * (1 - (-count / self.tau).exp())
        self.mean_overlap = torch.where(has_positives, kept * mean + (1 - kept) * observed, mean)
        self.num_updates = count + has_positives

    def get_extra_state(self) -> dict[str, float]:
        """Return the average and the number of batches behind it."""
        return {
            "mean_overlap": float(self.mean_overlap),
            "num_updates": float(self.num_updates),
        }

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Go on from what `get_extra_state` returned."""
        self.mean_overlap = torch.tensor(state["mean_overlap"])
        self.num_updates = torch.tensor(state["num_updates"])
