"""Efficient multi-scale attention: local and strip-wise context weigh each other."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

# names of the original weights
PUBLISHED_NAMES = {"gn": "norm", "conv1x1": "strip_conv", "conv3x3": "local_conv"}


class EfficientMultiscaleAttention(nn.Module):
    """Weigh every pixel by two branches that look at each other, one group of channels at a time.

    One branch gates rows and columns by their means, the other convolves 3x3. Each is pooled to
    weights over its channels, which sum up the channels of the other; the two sums make one weight
    per pixel and group. All groups share their weights, 10 c^2 + 4 c of them for groups of c
    channels. The paper calls it EMA, which elsewhere means a moving average.

    Args:
        width: Number of channels C.
        num_groups: Number of groups; must divide the width. The published code has 32.

    Raises:
        ValueError: If the groups do not divide the width.

    Source: arXiv 2305.13563, section 3; EMA in YOLOonMe/EMA-attention-module.
    """

    def __init__(self, width: int, *, num_groups: int = 32) -> None:
        super().__init__()
        if num_groups < 1 or width < 1 or width % num_groups:
            fitting = ", ".join(str(g) for g in range(1, width + 1) if width % g == 0)
            raise ValueError(
                f"width={width} does not split into num_groups={num_groups} groups; "
                + (f"num_groups may be {fitting}" if fitting else "a width is at least 1")
            )
        self.num_groups = num_groups
        group_width = width // num_groups
        self.norm = nn.GroupNorm(group_width, group_width)
        self.strip_conv = nn.Conv2d(group_width, group_width, 1)
        self.local_conv = nn.Conv2d(group_width, group_width, 3, padding=1)

    def forward(self, grid: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        """Weigh the pixels of a grid, keeping its shape."""
        batch, height, width, channels = grid.shape
        # no copy where the grid is the view of a contiguous NCHW map
        groups = grid.permute(0, 3, 1, 2).reshape(
            batch * self.num_groups, channels // self.num_groups, height, width
        )
        # the published code joins both strips for one convolution, which sees each pixel alone
        row_gate = self.strip_conv(groups.mean(dim=3, keepdim=True)).sigmoid()
        column_gate = self.strip_conv(groups.mean(dim=2, keepdim=True)).sigmoid()
        gated = self._normalise(groups * row_gate * column_gate)
        local = self.local_conv(groups)
        weights = _pooled(gated) @ local.flatten(2) + _pooled(local) @ gated.flatten(2)
        weighted = groups * weights.unflatten(2, (height, width)).sigmoid()
        return weighted.reshape(batch, channels, height, width).permute(0, 2, 3, 1)

    def _normalise(self, groups: Tensor) -> Tensor:
        # the module itself refuses one image of one pixel in one group
        norm = self.norm
        return torch.group_norm(groups, norm.num_groups, norm.weight, norm.bias, norm.eps)

    def extra_repr(self) -> str:
        """Show the width and the number of groups."""
        width = self.num_groups * self.norm.num_channels
        return f"width={width}, num_groups={self.num_groups}"


def _pooled(maps: Float[Tensor, "N c H W"]) -> Float[Tensor, "N 1 c"]:
    """Turn the means of the channels into weights that sum to one."""
    return maps.mean(dim=(2, 3)).softmax(dim=1).unsqueeze(1)
