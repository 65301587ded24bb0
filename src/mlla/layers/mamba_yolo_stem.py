"""Mamba-YOLO's stem: from an image to the first grid."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.grid_conv import convolve_grid


class MambaYOLOStem(nn.Module):
    """Turn an image into a grid of a quarter of its size with two convolutions of stride 2.

    The batch normalisations are plain ones, whose eps and momentum Ultralytics sets when it builds
    a detector, as it does in the published one.

    Args:
        in_chans: Channels of the image.
        dim: Width C of the grid, even.

    Raises:
        ValueError: If `dim` is odd or either width is not positive.

    Source: arXiv 2406.05835, section 3; SimpleStem in HZAI-ZJNU/Mamba-YOLO @b26cbda.
    """

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        if in_chans < 1:
            raise ValueError(f"in_chans={in_chans} must be at least 1; colour images have 3")
        if dim < 2 or dim % 2:
            raise ValueError(
                f"dim={dim} must be even and positive, since half of it is used inside the stem"
            )
        self.reduce_to_half = nn.Conv2d(in_chans, dim // 2, 3, stride=2, padding=1, bias=False)
        self.half_norm = nn.BatchNorm2d(dim // 2)
        self.reduce_to_quarter = nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1, bias=False)
        self.quarter_norm = nn.BatchNorm2d(dim)

    def forward(self, image: Float[Tensor, "B in_chans height width"]) -> Float[Tensor, "B H W C"]:
        """Encode an NCHW image; H and W are a quarter of its sides, rounded up."""
        x = image.permute(0, 2, 3, 1).contiguous()
        x = convolve_grid(self.half_norm, convolve_grid(self.reduce_to_half, x))
        x = convolve_grid(self.reduce_to_quarter, functional.gelu(x))
        return functional.silu(convolve_grid(self.quarter_norm, x))
