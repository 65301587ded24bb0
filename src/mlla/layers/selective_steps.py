"""Mamba's steps: what its input gate and its forget gate are made of."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.linear import linear
from mlla.ops.precision import without_autocast


class SelectiveSteps(nn.Module):
    """Compute a positive step for every token and channel: Softplus(x W1 W2 + b).

    Args:
        dim: Width C.
        rank: Width between W1 and W2; by default a sixteenth of C, rounded up.
        step_min: Smallest step at the start of training.
        step_max: Largest one. Channels start with steps between the two, evenly on a logarithmic
            scale, whatever the token.

    Source: arXiv 2312.00752, section 3.6; arXiv 2405.16605, section 3.2.
    """

    def __init__(
        self,
        dim: int,
        *,
        rank: int | None = None,
        step_min: float = 1e-3,
        step_max: float = 0.1,
    ) -> None:
        super().__init__()
        rank = math.ceil(dim / 16) if rank is None else rank
        self.reduce = linear(dim, rank, bias=False)
        self.expand = nn.Linear(rank, dim)
        with torch.no_grad():
            self.expand.weight.uniform_(-(rank**-0.5), rank**-0.5)
            steps = torch.empty_like(self.expand.bias)
            steps.uniform_(math.log(step_min), math.log(step_max)).exp_()
            # the inverse of softplus
            self.expand.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Return the steps, in float32 or in float64 for float64 tokens."""
        reduced = self.reduce(x)
        precision = torch.promote_types(reduced.dtype, torch.float32)
        with without_autocast(x.device):
            # half precision would round small steps of long sequences
            weight, bias = self.expand.weight.to(precision), self.expand.bias.to(precision)
            return functional.softplus(functional.linear(reduced.to(precision), weight, bias))
