"""What all inference forms have in common."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

Self = TypeVar("Self", bound="InferenceForm")
# numbers of float32 that stay in the second-level cache of a core while they are worked on
TILE_ELEMENTS = 2**18


class InferenceForm(nn.Module):
    """A module that computes what one for training does, and cannot be trained."""

    def train(self: Self, mode: bool = True) -> Self:
        """Stay in evaluation mode.

        Raises:
            RuntimeError: If training is asked for.
        """
        if mode:
            raise RuntimeError(
                "an optimized model is for inference: its norms are folded into other weights; "
                "train the model that was given to mlla.optimize"
            )
        return super().train(False)


def tiles(length: int, elements_each: int, minimum: int = 1) -> Iterator[slice]:
    """Cut a range so that what is made of a part stays in the caches of the cores.

    Args:
        length: Number of rows or samples.
        elements_each: How many numbers one of them makes.
        minimum: Least size of a part, except the last.
    """
    size = max(minimum, TILE_ELEMENTS // elements_each) * torch.get_num_threads()
    return (slice(start, start + size) for start in range(0, length, size))


def by_samples(function: Callable[[Tensor], Tensor], x: Tensor, elements_each: int) -> Tensor:
    """Apply a function to a few samples at a time.

    Args:
        function: What does not mix samples.
        x: Its input, samples first.
        elements_each: How many numbers the function makes of a sample at its widest.
    """
    parts = list(tiles(x.shape[0], elements_each))
    return function(x) if len(parts) < 2 else torch.cat([function(x[part]) for part in parts])
