"""Inference form of the MLLA block."""

from jaxtyping import Float
from torch import Tensor

from mlla.blocks.mlla_block import MLLABlock
from mlla.inference.form import InferenceForm
from mlla.inference.gated_attention import AttentionHalf
from mlla.inference.mlp import MLPHalf


class FastMLLABlock(InferenceForm):
    """`MLLABlock` with norms and identities folded into its layers.

    Args:
        trained: The block for training.
    """

    def __init__(self, trained: MLLABlock) -> None:
        super().__init__()
        self.attention_half = AttentionHalf(
            trained.position_before_attention, trained.attention_norm, trained.gated_attention
        )
        self.mlp_half = MLPHalf(trained.position_before_mlp, trained.mlp_norm, trained.mlp)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        return self.mlp_half(self.attention_half(x))
