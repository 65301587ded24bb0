"""What every loss here does around its formula: precision, reduction, checks of its options."""

import torch
from torch import Tensor

REDUCTIONS = ("none", "mean", "sum")


def precise(*tensors: Tensor) -> list[Tensor]:
    """Return tensors in float32 at least.

    Half precision rounds 1 - p away where p is close to one, and overflows in the sum over all
    places of a detector. PyTorch's autocast treats `nn.BCEWithLogitsLoss` alike.
    """
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """Reduce an element-wise loss as the losses of PyTorch do.

    Raises:
        ValueError: If `reduction` is unknown.
    """
    check_reduction(reduction)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def check_reduction(reduction: str) -> None:
    """Raise if a reduction is unknown."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r} is unknown; choose from {', '.join(REDUCTIONS)}")


def check_gamma(gamma: float) -> None:
    """Raise if an exponent has no finite gradient where a prediction is perfect."""
    if not (gamma == 0 or gamma >= 1):
        raise ValueError(
            f"gamma={gamma} must be 0 or at least 1: in between, the gradient at a perfect "
            "prediction is infinite"
        )


def check_alpha(alpha: float) -> None:
    """Raise if a share is none."""
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} must be between 0 and 1")
