"""Unified attention with its weights."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.core_design import CoreDesign
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.learned_positions import LearnedPositions
from mlla.layers.linear import linear
from mlla.layers.selective_steps import SelectiveSteps
from mlla.ops.unified_attention import ForgetGate, unified_attention


class UnifiedAttention(nn.Module):
    """Linear attention with ELU+1 features and the designs of Mamba that are switched on.

    Args:
        dim: Width C, a multiple of `num_heads`.
        num_heads: Number of heads. Queries and keys are `num_heads * design.head_dim` wide, values
            C: with one head all channels share a narrow query and key, as in Mamba.
        design: The switches. "cpe" belongs in front of a block and does nothing here.
        value_projection: Whether values are a projection of the input, or the input itself.
        grid_size: Rows and columns of the table of "ape".

    Raises:
        ValueError: If the width does not split into heads, or rotary positions meet queries whose
            width is no multiple of 4.

    Source: arXiv 2405.16605, sections 3.1 and 4.1.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        design: CoreDesign | None = None,
        *,
        value_projection: bool = False,
        grid_size: tuple[int, int] = (14, 14),
    ) -> None:
        super().__init__()
        design = CoreDesign() if design is None else design
        if num_heads < 1 or dim % num_heads:
            raise ValueError(
                f"dim={dim} does not split into num_heads={num_heads} heads; "
                "choose a width divisible by the number of heads"
            )
        query_dim = num_heads * design.head_dim
        self.rotary = "rope" in design.positions
        if self.rotary and query_dim % 4:
            raise ValueError(
                f"num_heads={num_heads} times head_dim={design.head_dim} is {query_dim}; rotary "
                "positions of rows and columns need a multiple of 4"
            )
        self.num_heads = num_heads
        self.normalise = design.normalise
        self.input_gate = design.input_gate
        has_steps = design.input_gate or design.forget_gate

        self.positions = LearnedPositions(dim, grid_size) if "ape" in design.positions else None
        self.query_key = linear(dim, 2 * query_dim)
        self.value = linear(dim, dim) if value_projection else None
        self.steps = SelectiveSteps(dim) if has_steps else None
        # the rates of decay start at -1, -2, ..., as those of S4D-real
        rates = torch.arange(1.0, design.head_dim + 1).log().repeat(dim, 1)
        self.A_log = nn.Parameter(rates) if design.forget_gate else None
        self.D = nn.Parameter(torch.ones(dim)) if design.shortcut else None
        self.local_position = depthwise_conv3x3(dim) if "lepe" in design.positions else None

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Attend over all positions of the grid, or with a forget gate over those before."""
        if self.positions is not None:
            x = self.positions(x)
        # ELU + 1 of a large negative number is lost in half precision
        precision = torch.promote_types(x.dtype, torch.float32)
        query, key = (functional.elu(self.query_key(x).to(precision)) + 1.0).chunk(2, dim=-1)
        value = x if self.value is None else self.value(x)
        steps = None if self.steps is None else self.steps(x)
        gate = None
        if self.A_log is not None and steps is not None:
            gate = ForgetGate(steps, self.forget_rates())
        elif not self.normalise:
            # the mean over tokens instead of the sum: as the authors' code with its normaliser left
            # out, and independent of the resolution
            query = query / (x.shape[1] * x.shape[2])
        attended = unified_attention(
            query,
            key,
            value,
            num_heads=self.num_heads,
            causal=gate is not None,
            input_gate=steps if self.input_gate else None,
            forget_gate=gate,
            shortcut=self.D,
            normalise=self.normalise,
            rotary=self.rotary,
        )
        if self.local_position is not None:
            attended = attended + convolve_grid(self.local_position, value)
        return attended

    def forget_rates(self) -> Float[Tensor, "C K"]:
        """Return the negative rate at which each state of each channel decays.

        Raises:
            ValueError: If there is no forget gate.
        """
        if self.A_log is None:
            raise ValueError("this attention has no forget gate; build it with forget_gate=True")
        return -self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)).exp()

    def extra_repr(self) -> str:
        """Show the width, the number of heads and the switches without modules of their own."""
        return (
            f"dim={self.query_key.in_features}, num_heads={self.num_heads}, "
            f"input_gate={self.input_gate}, forget_gate={self.A_log is not None}, "
            f"shortcut={self.D is not None}, normalise={self.normalise}, rotary={self.rotary}"
        )
