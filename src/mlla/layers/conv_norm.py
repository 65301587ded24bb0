"""A convolution and its batch normalisation."""

from jaxtyping import Float
from torch import Tensor, nn

from mlla.layers.grid_conv import convolve_grid


class FixedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose `eps` and `momentum` stay as published.

    Ultralytics resets those of every `nn.BatchNorm2d`, by exact type, when it builds a detector:
    published weights would then compute something else than published.
    """


class ConvNorm(nn.Module):
    """A square convolution on a grid, "same" padded, then batch normalisation.

    Args:
        in_dim: Input width.
        out_dim: Output width.
        kernel_size: Side of the kernel, odd.
        stride: Step of the kernel.
        bias: Whether the convolution has a bias, which the normalisation makes redundant; the
            published downsampling has one nevertheless.

    Raises:
        ValueError: If `kernel_size` is even.
    """

    def __init__(
        self, in_dim: int, out_dim: int, kernel_size: int, *, stride: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd, so that padding is symmetric")
        self.conv = nn.Conv2d(
            in_dim, out_dim, kernel_size, stride=stride, padding=kernel_size // 2, bias=bias
        )
        self.norm = FixedBatchNorm2d(out_dim)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Convolve and normalise."""
        return convolve_grid(self.norm, convolve_grid(self.conv, x))
