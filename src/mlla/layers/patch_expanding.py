"""The step up between two stages of VM-UNet."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.layers.linear import linear


class PatchExpanding(nn.Module):
    """Enlarge a grid by unfolding channels into pixels, and divide its width by the same factor.

    Args:
        dim: Width C of the input.
        factor: By how much height and width grow; must divide `dim`.

    Raises:
        ValueError: If `factor` is not positive or does not divide `dim`.

    Source: PatchExpand2D and Final_PatchExpand2D in JCruan519/VM-UNet @43c495b.
    """

    def __init__(self, dim: int, factor: int) -> None:
        super().__init__()
        if factor < 1 or dim % factor:
            raise ValueError(f"factor={factor} must be a positive divisor of dim={dim}")
        self.factor = factor
        self.expand = linear(dim, factor * dim, bias=False)
        self.norm = nn.LayerNorm(dim // factor)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Return a grid with `factor` times the sides."""
        # the authors' order is (place, channel); that of pixel_shuffle is (channel, place), and a
        # reshape of the grid would freeze height and width in an exported file
        weight = self.expand.weight.unflatten(0, (self.factor**2, -1)).transpose(0, 1).flatten(0, 1)
        expanded = functional.linear(x, weight).permute(0, 3, 1, 2)
        return self.norm(functional.pixel_shuffle(expanded, self.factor).permute(0, 2, 3, 1))
