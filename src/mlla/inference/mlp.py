"""Inference form of the token-wise half of a block."""

from collections.abc import Iterator

from torch import Tensor, nn

from mlla.inference.folding import after_norm, frozen
from mlla.inference.form import tiles
from mlla.inference.fused_layers import project
from mlla.inference.half import Half
from mlla.inference.packed import PackedLinear
from mlla.layers.mlp import MLP

# fewer tokens at a time would read the weights too often
_MIN_TOKENS = 512


class MLPHalf(Half):
    """A position encoding, then a layer norm and an MLP, each residual.

    Args:
        position: The depthwise convolution that encodes positions.
        norm: The layer norm in front of the MLP.
        mlp: The MLP.
    """

    def __init__(self, position: nn.Conv2d, norm: nn.LayerNorm, mlp: MLP) -> None:
        super().__init__(position, norm)
        self.expand = after_norm(norm, mlp.expand)
        self.contract = PackedLinear(frozen(mlp.contract))

    def _change(self, tokens: Tensor, _height: int) -> Tensor:
        return project(self.contract, project(self.expand, tokens, "gelu"))

    def _parts(self, x: Tensor) -> Iterator[slice]:
        batch, height, width = x.shape[:3]
        rows = -(-_MIN_TOKENS // width)
        return tiles(batch * height, width * self.expand.out_features, rows)
