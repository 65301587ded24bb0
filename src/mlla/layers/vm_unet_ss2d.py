"""The two-dimensional selective scan of VM-UNet."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.four_way_scan import FourWayScan
from mlla.layers.grid_conv import convolve_grid, depthwise_conv3x3
from mlla.layers.linear import linear
from mlla.ops.precision import is_autocast

EXPANSION = 2


class VMUNetSS2D(nn.Module):
    """SS2D as VM-UNet has it: Mamba's block design around a scan in four directions.

    One half of a projection to four times the width goes through a depthwise convolution, SiLU,
    the scan and a norm; the other half goes through SiLU and gates the first. VMamba v2 has no
    gate, and Mamba-YOLO gates with GELU before its scan: neither reads the same weights.

    Args:
        dim: Width C.
        num_states: States per channel.

    Raises:
        ValueError: If `dim` or `num_states` is not positive.

    Source: arXiv 2402.02491, section 3.2; SS2D in JCruan519/VM-UNet @43c495b.
    """

    def __init__(self, dim: int, *, num_states: int = 16) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("num_states", num_states)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        inner_dim = EXPANSION * dim
        self.input_and_gate_projection = linear(dim, 2 * inner_dim, bias=False)
        self.local_mixing = depthwise_conv3x3(inner_dim)
        self.scan = FourWayScan(inner_dim, num_states=num_states)
        self.scan_norm = nn.LayerNorm(inner_dim)
        self.output_projection = linear(inner_dim, dim, bias=False)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Mix tokens and gate the result."""
        mixed, gate = self.input_and_gate_projection(x).chunk(2, dim=-1)
        mixed = functional.silu(convolve_grid(self.local_mixing, mixed))
        if is_autocast(mixed.device):
            # what a scan returns grows with the cube of its input, and float16 ends at 65504
            mixed = mixed.float()
        scanned = self.scan_norm(self.scan(mixed))
        return self.output_projection(scanned * functional.silu(gate))
