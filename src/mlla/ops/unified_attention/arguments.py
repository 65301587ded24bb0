"""What both forms of unified attention ask of their arguments, and make of them first."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mlla.ops.linear_attention.arguments import split_heads
from mlla.ops.rotary import rotate_by_position
from mlla.ops.tracing import is_tracing


class ForgetGate(NamedTuple):
    """What decides how much of the state every token leaves: exp(steps * rates), in (0, 1].

    Attributes:
        steps: Positive step of every token and channel, "Delta" in the papers.
        rates: Negative rate of decay of every channel and state, "A" in the papers. A channel of a
            head has as many states as the head's keys have channels.
    """

    steps: Float[Tensor, "B H W C"]
    rates: Float[Tensor, "C K"]


class Sequences(NamedTuple):
    """The arguments as sequences (B, heads, L, channels of a head), rows after rows.

    Attributes:
        query: Queries, with their positions.
        key: Keys, with their positions.
        value: Values, let in by the input gate.
        plain_query: Queries without positions, for the normaliser.
        plain_key: Keys without positions, for the normaliser.
        steps: Steps of the forget gate, if there is one.
        rates: Rates of the forget gate (heads, V, K), if there is one.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    plain_query: Tensor
    plain_key: Tensor
    steps: Tensor | None
    rates: Tensor | None


def check_arguments(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    causal: bool,
    input_gate: Tensor | None,
    forget_gate: ForgetGate | None,
    shortcut: Tensor | None,
) -> None:
    """Raise unless the arguments fit each other.

    Args:
        query: Grid of queries.
        key: Grid of keys.
        value: Grid of values.
        num_heads: Number of heads.
        causal: Whether tokens see only those before them.
        input_gate: Grid of gates.
        forget_gate: Steps and rates.
        shortcut: Weights of the values themselves.

    Raises:
        ValueError: If a shape does not fit, there is no token, the widths do not split into
            `num_heads` heads, or `forget_gate` comes without `causal`.
    """
    for name, grid in (("query", query), ("value", value)):
        if grid.dim() != 4:
            raise ValueError(
                f"{name} must be a grid (B, H, W, C), got shape {tuple(grid.shape)}; "
                "reshape tokens (B, L, C) to (B, 1, L, C) first"
            )
    if forget_gate is not None and not causal:
        raise ValueError(
            "forget_gate with causal=False: a state that forgets depends on the order of the "
            "tokens and has no parallel form; pass causal=True"
        )
    if is_tracing():
        return
    batch, height, width, channels = value.shape
    keys = query.shape[3]
    if height == 0 or width == 0:
        raise ValueError(f"value has no token: H={height}, W={width}; both must be at least 1")
    for name, size in (("query", keys), ("value", channels)):
        if num_heads < 1 or size % num_heads:
            raise ValueError(
                f"num_heads={num_heads} does not divide the width {size} of {name}; "
                "choose a number of heads that divides the widths of query and value"
            )
    places = (batch, height, width)
    wanted: dict[str, tuple[Tensor, tuple[int, ...]]] = {
        "query": (query, (*places, keys)),
        "key": (key, (*places, keys)),
    }
    if input_gate is not None:
        wanted["input_gate"] = (input_gate, (*places, channels))
    if forget_gate is not None:
        wanted["forget_gate.steps"] = (forget_gate.steps, (*places, channels))
        wanted["forget_gate.rates"] = (forget_gate.rates, (channels, keys // num_heads))
    if shortcut is not None:
        wanted["shortcut"] = (shortcut, (channels,))
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)} but must have {shape} for query "
                f"{tuple(query.shape)}, value {tuple(value.shape)} and num_heads={num_heads}"
            )


def to_sequences(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    input_gate: Tensor | None,
    forget_gate: ForgetGate | None,
    rotary: bool,
) -> Sequences:
    """Rotate, gate and split the arguments, in float32 or in float64 for float64 values.

    Args:
        query: Grid of queries.
        key: Grid of keys.
        value: Grid of values.
        num_heads: Number of heads.
        input_gate: What values are multiplied by.
        forget_gate: Steps and rates.
        rotary: Whether positions rotate queries and keys.

    Returns:
        What the sums over tokens run on.
    """
    precision = torch.promote_types(value.dtype, torch.float32)
    q, k, v = (grid.to(precision) for grid in (query, key, value))
    if input_gate is not None:
        v = v * input_gate.to(precision)
    turned_q, turned_k = (rotate_by_position(q), rotate_by_position(k)) if rotary else (q, k)
    steps = rates = None
    if forget_gate is not None:
        steps = split_heads(forget_gate.steps.to(precision), num_heads)
        rates = forget_gate.rates.to(precision).unflatten(0, (num_heads, -1))
    return Sequences(
        query=split_heads(turned_q, num_heads),
        key=split_heads(turned_k, num_heads),
        value=split_heads(v, num_heads),
        plain_query=split_heads(q, num_heads),
        plain_key=split_heads(k, num_heads),
        steps=steps,
        rates=rates,
    )


def to_grid(sequences: Tensor, like: Tensor) -> Tensor:
    """(B, heads, L, channels of a head) to the shape of the grid `like`."""
    return sequences.transpose(1, 2).reshape(like.shape)
