"""Anchors of a feature pyramid, at the strides of its levels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList


class PyramidAnchors(nn.Module):
    """Lay anchors of three shapes on every cell of every level.

    torchvision's own anchors are rounded to whole pixels, and the stride of a level is guessed
    from the size of its map, which gives 61 in place of 64 for a map of 13 rows over 800 pixels.
    These are neither.

    Args:
        strides: Pixels of the image from one cell to the next, for every level.
        size_in_strides: Side of the square anchor as a multiple of the stride.
        aspect_ratios: Heights divided by widths; the area is the same for all.

    Source: arXiv 1612.03144, section 4.1, with the sizes and ratios of Mask R-CNN.
    """

    def __init__(
        self,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        size_in_strides: float = 8.0,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.size_in_strides = size_in_strides
        self.aspect_ratios = tuple(aspect_ratios)

    def forward(self, images: ImageList, feature_maps: Sequence[Tensor]) -> list[Tensor]:
        """Return for every image all anchors (N, 4) as left, top, right, bottom in pixels."""
        levels = zip(feature_maps, self.strides, strict=True)
        anchors = torch.cat([self._of_level(level, stride) for level, stride in levels])
        return [anchors for _ in images.image_sizes]

    def _of_level(self, feature_map: Tensor, stride: int) -> Tensor:
        height, width = feature_map.shape[-2:]
        device = feature_map.device
        roots = torch.tensor(self.aspect_ratios, device=device).sqrt()
        side = self.size_in_strides * stride
        widths, heights = side / roots, side * roots
        around_origin = torch.stack([-widths, -heights, widths, heights], dim=1) / 2
        rows, columns = torch.meshgrid(
            torch.arange(height, device=device) * stride,
            torch.arange(width, device=device) * stride,
            indexing="ij",
        )
        corners = torch.stack([columns, rows, columns, rows], dim=-1)
        return (corners[:, :, None] + around_origin).reshape(-1, 4)
