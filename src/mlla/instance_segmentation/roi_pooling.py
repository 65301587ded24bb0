"""Features of regions, cut out of the level of the pyramid that fits their size."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

# a region of this size, in pixels, is the largest that belongs to the finest level
_FINEST_SIZE_PX = 56


class PyramidRoIAlign(nn.Module):
    """Sample every region on a regular grid of one size.

    Pixels are points at half-integer coordinates, and a bin takes as many samples as it spans
    cells; torchvision's pooling shifts by half a cell and takes four samples for every bin.

    Args:
        output_size: Rows and columns of the grid.
        strides: Strides of the levels to cut from, finest first, each twice the one before.

    Source: arXiv 1703.06870, section 3; levels: arXiv 1612.03144, equation 1.
    """

    def __init__(self, output_size: int, strides: Sequence[int] = (4, 8, 16, 32)) -> None:
        super().__init__()
        self.output_size = (output_size, output_size)
        self.strides = tuple(strides)

    def forward(
        self,
        feature_maps: Mapping[str, Tensor],
        boxes: Sequence[Tensor],
        _image_sizes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Return the features (N, C, rows, columns) of all boxes, image after image."""
        maps = [feature_maps[str(level)] for level in range(len(self.strides))]
        sizes = torch.cat([(box[:, 2:] - box[:, :2]).prod(dim=1).sqrt() for box in boxes])
        levels = torch.log2(sizes / _FINEST_SIZE_PX + 1e-6).floor().clamp(0, len(maps) - 1)
        image_indices = torch.cat([box.new_full((len(box), 1), i) for i, box in enumerate(boxes)])
        regions = torch.cat([image_indices, torch.cat(list(boxes))], dim=1)
        pooled = maps[0].new_zeros((len(regions), maps[0].shape[1], *self.output_size))
        for level, (feature_map, stride) in enumerate(zip(maps, self.strides, strict=True)):
            chosen = torch.where(levels == level)[0]
            features = roi_align(
                feature_map, regions[chosen], self.output_size, 1 / stride, 0, aligned=True
            )
            # autocast may give the levels different types
            pooled[chosen] = features.to(pooled.dtype)
        return pooled
