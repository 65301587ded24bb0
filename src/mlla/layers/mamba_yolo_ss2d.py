"""Mamba-YOLO's SS2D: a four-way scan between two projections, gated."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.four_way_scan import FourWayScan
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.ops.precision import is_autocast


class MambaYOLOSS2D(nn.Module):
    """Scan a grid at twice its width and gate the result, with GELU throughout.

    VM-UNet's SS2D has SiLU in both branches, and other initial values. Here all rates of decay
    start at -1, every token at weight 1, and the step sizes normally distributed, as the authors'
    code has it (A_logs = 0, Ds = 1, dt_projs ~ N(0, 1)); all other weights start as PyTorch's.

    Args:
        dim: Width C.
        num_states: States per channel of the scan.

    Raises:
        ValueError: If `dim` or `num_states` is not positive.

    Source: arXiv 2406.05835, section 3; SS2D in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, dim: int, *, num_states: int = 16) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("num_states", num_states)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        inner = 2 * dim
        self.input_projection = nn.Linear(dim, 2 * inner, bias=False)
        self.local_mixing = depthwise_conv3x3(inner)
        self.scan = FourWayScan(inner, num_states=num_states)
        self.scan_norm = nn.LayerNorm(inner)
        self.output_projection = nn.Linear(inner, dim, bias=False)
        with torch.no_grad():
            self.scan.A_log.zero_()
            self.scan.dt_proj_weight.normal_()
            self.scan.dt_proj_bias.normal_()

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Let every pixel see all others, in each of the four orders what comes before it."""
        x, gate = self.input_projection(x).chunk(2, dim=-1)
        x = functional.gelu(convolve_grid(self.local_mixing, x))
        if is_autocast(x.device):
            # what a scan returns grows with the cube of its input, and float16 ends at 65504
            x = x.float()
        return self.output_projection(self.scan_norm(self.scan(x)) * functional.gelu(gate))
