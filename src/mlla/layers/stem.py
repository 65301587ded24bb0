"""The stem: from an image to the first grid."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.conv_norm import ConvNorm
from mlla.ops.grid_padding import pad_grid_to_multiple


class Stem(nn.Module):
    """Turn an image into a grid of a quarter of its size with a few plain convolutions.

    Images whose sides are no multiples of 4 are zero-padded on the right and at the bottom, as
    the authors' detection code does.

    Args:
        in_chans: Channels of the image.
        dim: Width C of the grid, even.

    Raises:
        ValueError: If `dim` is odd or either width is not positive.

    Source: arXiv 2405.16605, section 4.2; Stem in LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        if in_chans < 1:
            raise ValueError(f"in_chans={in_chans} must be at least 1; colour images have 3")
        if dim < 2 or dim % 2:
            raise ValueError(
                f"dim={dim} must be even and positive, since half of it is used inside the stem"
            )
        self.reduce_to_half = ConvNorm(in_chans, dim // 2, 3, stride=2)
        self.refine = nn.ModuleList(ConvNorm(dim // 2, dim // 2, 3) for _ in range(2))
        self.reduce_to_quarter = ConvNorm(dim // 2, 4 * dim, 3, stride=2)
        self.project = ConvNorm(4 * dim, dim, 1)

    def forward(self, image: Float[Tensor, "B in_chans height width"]) -> Float[Tensor, "B H W C"]:
        """Encode an NCHW image; H and W are a quarter of its sides, rounded up."""
        x = pad_grid_to_multiple(image.permute(0, 2, 3, 1).contiguous(), 4)
        x = functional.relu(self.reduce_to_half(x))
        first, second = self.refine
        x = x + second(functional.relu(first(x)))
        x = functional.relu(self.reduce_to_quarter(x))
        return self.project(x)
