"""Inference forms of the stem, the downsampling and the convolutions that they consist of."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from mlla.inference.fast_path import takes_fast_path
from mlla.inference.folding import as_linear, frozen, with_batch_norm
from mlla.inference.form import TILE_ELEMENTS, InferenceForm, by_samples, tiles
from mlla.inference.fused_layers import convolve, project
from mlla.layers.conv_norm import ConvNorm
from mlla.layers.downsample import Downsample
from mlla.layers.stem import Stem
from mlla.ops.grid_padding import pad_grid_to_multiple


class FastConvNorm(InferenceForm):
    """`ConvNorm` as one convolution.

    Args:
        trained: The layer for training.
    """

    def __init__(self, trained: ConvNorm) -> None:
        super().__init__()
        self.conv = with_batch_norm(trained)

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Convolve."""
        return convolve(self.conv, x)


class FastStem(InferenceForm):
    """`Stem` without norms, channels last, a few images at a time.

    Args:
        trained: The stem for training.
    """

    def __init__(self, trained: Stem) -> None:
        super().__init__()
        self.reduce_to_half = with_batch_norm(trained.reduce_to_half)
        refine: Any = trained.refine
        self.refine = nn.ModuleList(with_batch_norm(layer) for layer in refine)
        self.reduce_to_quarter = with_batch_norm(trained.reduce_to_quarter)
        self.project = as_linear(with_batch_norm(trained.project))

    def forward(self, image: Float[Tensor, "B in_chans height width"]) -> Float[Tensor, "B H W C"]:
        """Encode an NCHW image; H and W are a quarter of its sides, rounded up."""
        image = image.to(self.project.weight.dtype)
        if not takes_fast_path(image):
            return self._encode(image)
        height, width = ((side + 3) // 4 for side in image.shape[2:])
        return by_samples(self._encode, image, height * width * self.project.in_features)

    def _encode(self, image: Tensor) -> Tensor:
        x = pad_grid_to_multiple(image.permute(0, 2, 3, 1).contiguous(), 4)
        x = convolve(self.reduce_to_half, x, "relu")
        first: Any
        second: Any
        first, second = self.refine
        x = x + convolve(second, convolve(first, x, "relu"))
        return project(self.project, convolve(self.reduce_to_quarter, x, "relu"))


class FastDownsample(InferenceForm):
    """`Downsample` without norm, a few rows at a time: what is wide stays in the caches.

    Args:
        trained: The layer for training.
    """

    def __init__(self, trained: Downsample) -> None:
        super().__init__()
        self.expand = as_linear(trained.expand)
        self.reduce = frozen(trained.reduce)
        self.project = as_linear(with_batch_norm(trained.project))

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Return a grid with half the sides, rounded up."""
        x = pad_grid_to_multiple(x, 2)
        if not takes_fast_path(x):
            return self._halve(x)
        batch, height, width, _ = x.shape
        elements = width * self.expand.out_features
        # whole samples where they are small, else rows of one sample
        if height * elements <= TILE_ELEMENTS:
            return by_samples(self._halve, x, height * elements)
        result = x.new_empty(batch, height // 2, width // 2, self.project.out_features)
        for sample in range(batch):
            for part in tiles(height // 2, 2 * elements):
                first, last = 2 * part.start, min(2 * part.stop, height)
                # two rows more than the window needs, so that the first row begins as all do
                before = 2 if first else 0
                rows = self._halve(x[sample : sample + 1, first - before : last])
                result[sample, part] = rows[0, before // 2 :]
        return result

    def _halve(self, x: Tensor) -> Tensor:
        x = project(self.expand, x, "relu")
        return project(self.project, convolve(self.reduce, x, "relu"))
