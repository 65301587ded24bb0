"""What every form of the selective scan asks of its arguments."""

from torch import Tensor

from mlla.ops.tracing import is_tracing


def check_arguments(x: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> None:
    """Raise unless the six tensors fit each other.

    Args:
        x: Tokens, (B, G, L, D).
        delta: Steps, of the same shape.
        A: Rates, (G, D, N).
        B: How tokens enter, (B, G, L, N).
        C: How states are read, (B, G, L, N).
        D: Weight of the token itself, (G, D).

    Raises:
        ValueError: If a shape does not fit, there is no token, or the devices differ.
    """
    if x.dim() != 4:
        raise ValueError(
            f"x must be sequences (B, G, L, D), got shape {tuple(x.shape)}; "
            "insert a dimension of 1 for a single group"
        )
    if A.dim() != 3:
        raise ValueError(f"A must be rates (G, D, N), got shape {tuple(A.shape)}")
    if is_tracing():
        return
    batch, groups, length, width = x.shape
    num_states = A.shape[2]
    if length == 0:
        raise ValueError("x has no token: L=0 must be at least 1")
    wanted = {
        "delta": (delta, "(B, G, L, D)", (batch, groups, length, width)),
        "A": (A, "(G, D, N)", (groups, width, num_states)),
        "B": (B, "(B, G, L, N)", (batch, groups, length, num_states)),
        "C": (C, "(B, G, L, N)", (batch, groups, length, num_states)),
        "D": (D, "(G, D)", (groups, width)),
    }
    for name, (tensor, letters, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} but {letters} is {shape} "
                f"for x of shape {tuple(x.shape)} and N={num_states} states"
            )
        if tensor.device != x.device:
            raise ValueError(
                f"{name} is on {tensor.device} but x on {x.device}; move both to one device"
            )
