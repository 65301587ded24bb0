"""What `optimize` did."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Optimizations:
    """What became of a model.

    Attributes:
        replaced: How many modules of each class an inference form stands for.
        left: How many stayed as they are, because a hook or a layer of another kind is in them.
        dtype: Type of the weights.
        largest_error: Largest difference of the outputs for the example, relative to the largest
            output; None without an example.
    """

    replaced: Mapping[str, int]
    left: Mapping[str, int]
    dtype: torch.dtype
    largest_error: float | None = None

    def __str__(self) -> str:
        """Tell it in a few lines."""
        lines = [f"optimized for inference in {str(self.dtype).removeprefix('torch.')}:"]
        lines += [f"  {number} {name} folded" for name, number in self.replaced.items()]
        lines += [
            f"  {number} {name} left as they are: hooks or other layers in them"
            for name, number in self.left.items()
        ]
        if self.largest_error is not None:
            lines.append(f"  outputs differ by {self.largest_error:.1e} of the largest")
        return "\n".join(lines)
