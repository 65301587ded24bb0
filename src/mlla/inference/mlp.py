"""Inference form of the token-wise half of a block."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.inference import loops
from mlla.inference.fast_path import takes_fast_path
from mlla.inference.folding import after_norm, frozen, with_identity, without_weights
from mlla.inference.form import InferenceForm, tiles
from mlla.inference.fused_layers import convolve, project
from mlla.inference.packed import PackedDepthwise, PackedLinear
from mlla.layers.mlp import MLP

# fewer tokens at a time would read the weights too often
_MIN_TOKENS = 512


class MLPHalf(InferenceForm):
    """A position encoding, then a layer norm and an MLP, each residual.

    A tile of tokens goes through the MLP before the next one does: what is wide stays small.

    Args:
        position: The depthwise convolution that encodes positions.
        norm: The layer norm in front of the MLP.
        mlp: The MLP.
    """

    def __init__(self, position: nn.Conv2d, norm: nn.LayerNorm, mlp: MLP) -> None:
        super().__init__()
        self.position = PackedDepthwise(with_identity(position))
        self.norm = without_weights(norm)
        self.expand = after_norm(norm, mlp.expand)
        self.contract = PackedLinear(frozen(mlp.contract))

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        if not takes_fast_path(x):
            x = convolve(self.position, x)
            return x + self._mlp(self.norm(x))
        width, channels = x.shape[2:]
        if not loops.can_run(channels):
            x = convolve(self.position, x)
            tokens = x.flatten(0, 2)
            for part in tiles(tokens.shape[0], self.expand.out_features, _MIN_TOKENS):
                tokens[part].add_(self._mlp(self.norm(tokens[part])))
            return x
        x = x.contiguous()
        result = torch.empty_like(x)
        rows = result.view(1, -1, width, channels)
        least = -(-_MIN_TOKENS // width)
        for part in tiles(rows.shape[1], width * self.expand.out_features, least):
            tokens = loops.convolve_and_normalize(x, self.position, self.norm.eps, result, part)
            rows[:, part].add_(self._mlp(tokens))
        return result

    def _mlp(self, tokens: Tensor) -> Tensor:
        return project(self.contract, project(self.expand, tokens, "gelu"))
