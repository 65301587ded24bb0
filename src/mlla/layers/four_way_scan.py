"""A selective state space model that reads a grid in four directions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.ops import grid_scan, grid_unscan_sum, selective_scan
from mlla.ops.grid_scan import NUM_SCANS
from mlla.ops.precision import without_autocast


class FourWayScan(nn.Module):
    """Scan a grid by rows, by columns and both backwards, and add the four results.

    Each direction has weights of its own, from which every token computes its step and how it
    enters and leaves the state. This is the core that the blocks of VMamba, VM-UNet and Mamba-YOLO
    share. It starts as VM-UNet does.

    Args:
        width: Width of the grid.
        num_states: States per channel.
        dt_rank: Rank of the steps; by default a sixteenth of half the width, rounded up, as in
            models that expand their width by two.

    Source: arXiv 2401.10166, section 4.2; SS2D in JCruan519/VM-UNet @43c495b.
    """

    def __init__(self, width: int, *, num_states: int = 16, dt_rank: int | None = None) -> None:
        super().__init__()
        self.num_states = num_states
        self.dt_rank = math.ceil(width / 2 / 16) if dt_rank is None else dt_rank
        projected = self.dt_rank + 2 * num_states
        self.x_proj_weight = nn.Parameter(torch.empty(NUM_SCANS, projected, width))
        self.dt_proj_weight = nn.Parameter(torch.empty(NUM_SCANS, width, self.dt_rank))
        self.dt_proj_bias = nn.Parameter(torch.empty(NUM_SCANS, width))
        self.A_log = nn.Parameter(torch.empty(NUM_SCANS, width, num_states))
        self.D = nn.Parameter(torch.ones(NUM_SCANS, width))
        self.reset_parameters()

    def reset_parameters(self, dt_min: float = 1e-3, dt_max: float = 0.1) -> None:
        """Start with steps between two bounds and the rates of decay -1, -2, ... of S4D-real."""
        width = self.D.shape[1]
        with torch.no_grad():
            self.x_proj_weight.uniform_(-(width**-0.5), width**-0.5)
            self.dt_proj_weight.uniform_(-(self.dt_rank**-0.5), self.dt_rank**-0.5)
            steps = torch.empty_like(self.dt_proj_bias)
            steps.uniform_(math.log(dt_min), math.log(dt_max)).exp_().clamp_(min=1e-4)
            # the inverse of softplus
            self.dt_proj_bias.copy_(steps + torch.log(-torch.expm1(-steps)))
            self.A_log.copy_(torch.arange(1, self.num_states + 1).log().expand_as(self.A_log))
            self.D.fill_(1)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Let every pixel see all pixels before it in each of the four orders."""
        tokens = grid_scan(x)
        projected = tokens @ self.x_proj_weight.transpose(1, 2)
        dt, b, c = projected.split([self.dt_rank, self.num_states, self.num_states], dim=-1)
        with without_autocast(x.device):
            # half precision would round small steps of long sequences
            steps = dt.float() @ self.dt_proj_weight.float().transpose(1, 2)
            # in place: nothing needs the product without its bias
            steps = functional.softplus(steps.add_(self.dt_proj_bias.float()[:, None]))
        y = selective_scan(tokens, steps, -self.A_log.float().exp(), b, c, self.D)
        return grid_unscan_sum(y, x.shape[1], x.shape[2])
