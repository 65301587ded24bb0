"""Inference form of gated linear attention, and of the half of a block around it."""

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from mlla.inference import loops
from mlla.inference.attention_core import attend
from mlla.inference.fast_path import takes_fast_path
from mlla.inference.folding import after_norm, frozen, side_by_side
from mlla.inference.form import InferenceForm, tiles
from mlla.inference.fused_layers import convolve, project
from mlla.inference.half import Half
from mlla.inference.packed import PackedDepthwise, PackedLinear
from mlla.layers.gated_linear_attention import GatedLinearAttention
from mlla.ops.linear_attention import projected_linear_attention


class FastGatedAttention(InferenceForm):
    """`GatedLinearAttention` with activations inside the layers before them.

    Args:
        trained: The layer for training.
        norm: The layer norm in front of it, whose weights go into the first projections: this form
            then reads tokens that are normalised without weights.
    """

    def __init__(self, trained: GatedLinearAttention, norm: nn.LayerNorm | None = None) -> None:
        super().__init__()
        self.num_heads = trained.attention.num_heads
        self.input_and_gate = side_by_side(
            after_norm(norm, trained.input_projection), after_norm(norm, trained.gate_projection)
        )
        self.local_mixing = PackedDepthwise(frozen(trained.local_mixing))
        self.query_key = PackedLinear(frozen(trained.attention.query_key))
        self.local_position = PackedDepthwise(frozen(trained.attention.local_position))
        self.output_projection = PackedLinear(frozen(trained.output_projection))

    @property
    def can_run_loops(self) -> bool:
        """Whether the loops that Numba compiles know these widths and may run."""
        channels = self.local_mixing.out_channels
        return loops.can_run(channels, channels // self.num_heads)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Mix tokens and gate the result."""
        if takes_fast_path(x) and self.can_run_loops:
            both = project(self.input_and_gate, x)
            mixed = loops.convolve_with_silu(both, self.local_mixing)
            query_key = project(self.query_key, mixed)
            attended = loops.attend_and_gate(
                query_key, mixed, self.num_heads, self.local_position, both
            )
            return project(self.output_projection, attended)
        # two grids, for a half of one would have to be copied
        channels = self.local_mixing.out_channels
        gate = project(self.input_and_gate, x, "silu", slice(channels, None))
        entering = project(self.input_and_gate, x, outputs=slice(channels))
        mixed = convolve(self.local_mixing, entering, "silu")
        query_key = project(self.query_key, mixed)
        local = convolve(self.local_position, mixed)
        if takes_fast_path(x):
            attended = attend(query_key, mixed, self.num_heads).add_(local).mul_(gate)
            return project(self.output_projection, attended.to(x.dtype))
        attended = projected_linear_attention(query_key, mixed, num_heads=self.num_heads) + local
        return project(self.output_projection, attended * gate)


class AttentionHalf(Half):
    """A position encoding, a layer norm and gated linear attention, each residual.

    Args:
        position: The depthwise convolution that encodes positions.
        norm: The layer norm in front of the attention.
        attention: The attention.
    """

    def __init__(
        self, position: nn.Conv2d, norm: nn.LayerNorm, attention: GatedLinearAttention
    ) -> None:
        super().__init__(position, norm)
        self.attention = FastGatedAttention(attention, norm)

    def _change(self, tokens: Tensor, height: int) -> Tensor:
        grids = tokens.view(-1, height, *tokens.shape[2:])
        return self.attention(grids).view_as(tokens)

    def _parts(self, x: Tensor) -> Iterator[slice]:
        height = x.shape[1]
        for samples in tiles(x.shape[0], x[0].numel()):
            yield slice(samples.start * height, samples.stop * height)
