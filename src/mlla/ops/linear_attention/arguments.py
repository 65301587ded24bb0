"""What both forms of linear attention do to their arguments first."""

from torch import Tensor

from mlla.ops.tracing import is_tracing


def check_arguments(query: Tensor, key: Tensor, value: Tensor, num_heads: int) -> None:
    """Raise unless the three grids fit each other and split into heads.

    Args:
        query: First grid, which the other two must resemble.
        key: Second grid.
        value: Third grid.
        num_heads: Number of heads.

    Raises:
        ValueError: If the shapes differ, are not (B, H, W, C), hold no token, or C does not
            split into `num_heads` heads.
    """
    if query.dim() != 4:
        raise ValueError(
            f"query must be a grid (B, H, W, C), got shape {tuple(query.shape)}; "
            "reshape tokens (B, H*W, C) to (B, H, W, C) first"
        )
    if is_tracing():
        return
    for name, grid in (("key", key), ("value", value)):
        if grid.shape != query.shape:
            raise ValueError(
                f"{name} has shape {tuple(grid.shape)} but query has {tuple(query.shape)}; "
                "query, key and value must have the same shape"
            )
    if query.shape[1] == 0 or query.shape[2] == 0:
        raise ValueError(
            f"query has no token: H={query.shape[1]}, W={query.shape[2]}; both must be at least 1"
        )
    if num_heads < 1 or query.shape[3] % num_heads:
        raise ValueError(
            f"num_heads={num_heads} does not divide the width C={query.shape[3]}; "
            "choose a number of heads that divides the width"
        )


def split_heads(grid: Tensor, num_heads: int) -> Tensor:
    """(B, H, W, C) to (B, heads, H*W, C / heads)."""
    return grid.flatten(1, 2).unflatten(-1, (num_heads, -1)).transpose(1, 2)
