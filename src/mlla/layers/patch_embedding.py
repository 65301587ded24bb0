"""From an image to the first grid, as Swin Transformer does it."""

from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.grid_conv import convolve_grid
from mlla.ops.grid_padding import pad_grid_to_multiple


class PatchEmbedding(nn.Module):
    """Project patches of an image that do not overlap, then normalise.

    Images whose sides are no multiples of a patch are zero-padded on the right and at the bottom.

    Args:
        in_chans: Channels of the image.
        dim: Width C of the grid.
        patch_size: Side of a patch in pixels.

    Raises:
        ValueError: If an argument is not positive.

    Source: arXiv 2103.14030, section 3.1.
    """

    def __init__(self, in_chans: int, dim: int, patch_size: int = 4) -> None:
        super().__init__()
        for name, value in (("in_chans", in_chans), ("dim", dim), ("patch_size", patch_size)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.patch_size = patch_size
        self.project = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Float[Tensor, "B in_chans height width"]) -> Float[Tensor, "B H W C"]:
        """Encode an NCHW image; H and W are its sides in patches, rounded up."""
        x = pad_grid_to_multiple(image.permute(0, 2, 3, 1).contiguous(), self.patch_size)
        return self.norm(convolve_grid(self.project, x))
