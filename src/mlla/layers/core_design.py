"""The switches of unified attention, as one value."""

from collections.abc import Sequence
from dataclasses import dataclass

#: Absolute, locally enhanced, conditional and rotary position encoding.
POSITIONS = ("ape", "lepe", "cpe", "rope")


@dataclass(frozen=True, kw_only=True)
class CoreDesign:
    """Which designs of Mamba linear attention has, and which position encodings instead.

    Args:
        input_gate: Multiply values by steps computed from the token.
        forget_gate: Let the state decay by steps computed from the token; tokens then see only
            what comes before them, by rows from the top left.
        shortcut: Add to each output its value, with a learned weight per channel.
        normalise: Let the weights of the values sum to one.
        positions: Any of "ape", "lepe", "cpe" and "rope".
        head_dim: Width of the queries and keys of a head, even.

    Raises:
        ValueError: If a position encoding is unknown or named twice, or `head_dim` is not
            positive.

    Source: arXiv 2405.16605, sections 4.2 and 5.2.
    """

    input_gate: bool = False
    forget_gate: bool = False
    shortcut: bool = False
    normalise: bool = True
    positions: Sequence[str] = ()
    head_dim: int = 32

    def __post_init__(self) -> None:
        named = list(self.positions)
        if isinstance(self.positions, str) or not set(named) <= set(POSITIONS):
            raise ValueError(
                f"positions={self.positions!r} must be a sequence of names among {POSITIONS}"
            )
        if len(set(named)) < len(named):
            raise ValueError(f"positions={self.positions!r} names an encoding twice")
        if self.head_dim < 1:
            raise ValueError(f"head_dim={self.head_dim} must be at least 1; the paper has 32")
