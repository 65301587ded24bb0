"""The VSS block of VM-UNet."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mlla.layers.vm_unet_ss2d import VMUNetSS2D


class VMUNetVSSBlock(nn.Module):
    """Visual state space block as VM-UNet has it: x + SS2D(LN(x)), without an MLP.

    Two other blocks go by the same name: VMamba v2's has an MLP and no gate, Mamba-YOLO's has
    convolutions and an MLP with a gate.

    Args:
        dim: Width C.
        num_states: States per channel of the scan.
        norm_eps: What the norm adds to the variance: 1e-6 in a block of its own, 1e-5 in VM-UNet.
        drop_path: Probability in [0, 1) of skipping the branch for a sample while training.

    Raises:
        ValueError: If `dim` or `num_states` is not positive or `drop_path` is outside [0, 1).

    Source: arXiv 2402.02491, section 3.2; VSSBlock in JCruan519/VM-UNet @43c495b.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_states: int = 16,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path={drop_path} must be a probability in [0, 1)")
        self.ss2d = VMUNetSS2D(dim, num_states=num_states)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Refine the grid, keeping its shape."""
        return x + self.drop_path(self.ss2d(self.norm(x)))
