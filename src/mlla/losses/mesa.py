"""MESA: the moving average of the model teaches the model."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mlla.losses.elementwise import precise


def mesa_loss(
    logits: Float[Tensor, "B classes"], average_logits: Float[Tensor, "B classes"]
) -> Float[Tensor, ""]:
    """Return the cross-entropy of the model against its own moving average.

    Args:
        logits: Scores of the model.
        average_logits: Scores of the moving average of its weights for the same images; no
            gradient goes there.

    Returns:
        The mean over images, in float32 at least.

    Raises:
        ValueError: If the shapes differ.

    Source: arXiv 2205.14083, section 4; LeapLabTHU/MLLA @66b6d29, which adds it to the loss from
    a quarter of the epochs on.
    """
    if logits.shape != average_logits.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and average_logits {tuple(average_logits.shape)} must "
            "have the same shape"
        )
    logits, average_logits = precise(logits, average_logits.detach())
    return functional.cross_entropy(logits, average_logits.softmax(dim=-1))
