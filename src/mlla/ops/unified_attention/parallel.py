"""All tokens at once: two batched matrix products."""

from jaxtyping import Float
from torch import Tensor


def attend_to_all(
    query: Float[Tensor, "B heads L K"],
    key: Float[Tensor, "B heads L K"],
    value: Float[Tensor, "B heads L V"],
) -> Float[Tensor, "B heads L V"]:
    """Return Q_i sum_j K_j^T V_j over all tokens j.

    Args:
        query: Queries.
        key: Keys.
        value: Values.

    Returns:
        The sums, not normalised.
    """
    return query @ (key.transpose(-2, -1) @ value)
