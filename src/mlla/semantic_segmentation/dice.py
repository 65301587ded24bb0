"""The Dice loss, with which VM-UNet is trained beside the cross-entropy."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from mlla.semantic_segmentation.confusion import IGNORED


def dice_loss(
    logits: Float[Tensor, "B num_classes H W"], target: Int[Tensor, "B H W"]
) -> Float[Tensor, ""]:
    """Return 1 less the overlap of probabilities and classes, averaged over classes.

    The overlap of a class is twice the probability on its pixels, by the sum of its probability
    and its pixels, over the whole batch; 1 is added to both, so that a class that is neither
    there nor found overlaps fully. Pixels of class 255 do not count.

    Args:
        logits: Before the softmax.
        target: Classes, and 255 where none is known.

    Source: arXiv 2402.02491, section 3.2; arXiv 1606.04797, section 3.
    """
    known = (target != IGNORED)[:, None]
    probabilities = logits.float().softmax(dim=1) * known
    classes = functional.one_hot(target.masked_fill(~known[:, 0], 0), logits.shape[1])
    true = classes.permute(0, 3, 1, 2) * known
    sums = (0, 2, 3)
    common = (probabilities * true).sum(dim=sums)
    overlap = (2 * common + 1) / (probabilities.sum(dim=sums) + true.sum(dim=sums) + 1)
    return 1 - overlap.mean()
