"""What both halves of a block have in common."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.inference import loops
from mlla.inference.fast_path import takes_fast_path
from mlla.inference.folding import with_identity, without_weights
from mlla.inference.form import InferenceForm
from mlla.inference.fused_layers import convolve
from mlla.inference.packed import PackedDepthwise


class Half(InferenceForm):
    """A position encoding, then a layer norm and what changes the tokens, each residual.

    On the fast path one part of the rows is done before the next begins: what is wide stays small.

    Args:
        position: The depthwise convolution that encodes positions.
        norm: The layer norm; its weights belong to what changes the tokens.
    """

    def __init__(self, position: nn.Conv2d, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.position = PackedDepthwise(with_identity(position))
        self.norm = without_weights(norm)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        if not takes_fast_path(x):
            x = convolve(self.position, x)
            return x + self._change(self.norm(x), x.shape[1])
        by_loops = loops.can_run(x.shape[3])
        x = x.contiguous() if by_loops else convolve(self.position, x)
        result = torch.empty_like(x) if by_loops else x
        rows = result.view(1, -1, *x.shape[2:])
        for part in self._parts(x):
            if by_loops:
                tokens = loops.convolve_and_normalize(x, self.position, self.norm.eps, result, part)
            else:
                tokens = self.norm(rows[:, part])
            rows[:, part].add_(self._change(tokens, x.shape[1]))
        return result

    @abstractmethod
    def _change(self, tokens: Float[Tensor, "N R W C"], height: int) -> Float[Tensor, "N R W C"]:
        """Return what is added, from normalised rows of grids of that height."""

    @abstractmethod
    def _parts(self, x: Float[Tensor, "B H W C"]) -> Iterator[slice]:
        """Cut the B H rows into what is done at once."""
