"""VM-UNet, a segmentation network of VSS blocks."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mlla.blocks.vm_unet_vss_block import VMUNetVSSBlock
from mlla.layers.grid_conv import convolve_grid
from mlla.layers.patch_expanding import PatchExpanding
from mlla.layers.patch_merging import PatchMerging
from mlla.ops.grid_padding import pad_grid_to_multiple
from mlla.ops.tracing import is_tracing

PATCH_SIZE = 4
# those of blocks inside the network, where the authors pass their norm on
NORM_EPS = 1e-5


class VMUNet(nn.Module):
    """VM-UNet: an encoder and a decoder of VSS blocks, for images of any size.

    Images are zero-padded on the right and at the bottom to whole pixels of the deepest stage
    (multiples of 32 with four stages) and the result is cropped. What the decoder gets from the
    encoder is, as published, the input of each stage's blocks, and it is added.

    Args:
        in_chans: Channels of the image. The authors repeat grey images three times; with their
            weights, do the same: `image.expand(-1, 3, -1, -1)`.
        num_classes: Channels of the output; 1 for foreground against background.
        dim: Width of the first stage; each further stage doubles it. A multiple of 4.
        depths: Number of blocks of each stage of the encoder, from the finest to the coarsest.
        depths_decoder: The same of the decoder, from the coarsest to the finest.
        drop_path_rate: Probability of skipping a block at the bottom of the U while training; it
            grows linearly from 0 towards the bottom on both sides. The authors use 0.2.

    Raises:
        ValueError: If an argument is out of its range, or `depths` and `depths_decoder` differ
            in length.

    Source: arXiv 2402.02491, section 3.1; VMUNet in JCruan519/VM-UNet @43c495b.
    """

    def __init__(
        self,
        *,
        in_chans: int = 3,
        num_classes: int = 1,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 2, 2),
        depths_decoder: Sequence[int] = (2, 2, 2, 1),
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        _check_arguments(in_chans, num_classes, dim, depths, depths_decoder, drop_path_rate)
        self.in_chans = in_chans
        self.num_classes = num_classes
        widths = [dim * 2**stage for stage in range(len(depths))]
        self.stride = PATCH_SIZE * 2 ** (len(depths) - 1)

        self.patch_projection = nn.Conv2d(in_chans, dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.patch_norm = nn.LayerNorm(dim)
        drop_paths = _rates(drop_path_rate, sum(depths))
        self.encoder = nn.ModuleList(
            _stage(width, [drop_paths.pop(0) for _ in range(depth)])
            for width, depth in zip(widths, depths, strict=True)
        )
        self.merges = nn.ModuleList(PatchMerging(width) for width in widths[:-1])
        drop_paths = _rates(drop_path_rate, sum(depths_decoder))
        self.decoder = nn.ModuleList(
            _stage(width, [drop_paths.pop() for _ in range(depth)])
            for width, depth in zip(reversed(widths), depths_decoder, strict=True)
        )
        self.expansions = nn.ModuleList(PatchExpanding(width, 2) for width in reversed(widths[1:]))
        self.final_expansion = PatchExpanding(dim, PATCH_SIZE)
        self.head = nn.Conv2d(dim // PATCH_SIZE, num_classes, 1)

    def forward(
        self, image: Float[Tensor, "B in_chans height width"]
    ) -> Float[Tensor, "B num_classes height width"]:
        """Return logits, of which a sigmoid (one class) or a softmax makes probabilities.

        Raises:
            ValueError: If the image has another number of channels than the network.
        """
        if not is_tracing() and image.shape[1] != self.in_chans:
            raise ValueError(
                f"image has {image.shape[1]} channels, but the network has in_chans="
                f"{self.in_chans}; build it with in_chans={image.shape[1]}, or repeat the channel "
                "of a grey image: image.expand(-1, 3, -1, -1)"
            )
        height, width = image.shape[2:]
        x = pad_grid_to_multiple(image.permute(0, 2, 3, 1).contiguous(), self.stride)
        x = self.encoder[0](self.patch_norm(convolve_grid(self.patch_projection, x)))
        skips = []
        for merge, stage in zip(self.merges, self.encoder[1:], strict=True):
            skips.append(merge(x))
            x = stage(skips[-1])
        x = self.decoder[0](x)
        for expand, stage in zip(self.expansions, self.decoder[1:], strict=True):
            x = stage(expand(x + skips.pop()))
        logits = convolve_grid(self.head, self.final_expansion(x))
        return logits[:, :height, :width].permute(0, 3, 1, 2)

    def no_weight_decay(self) -> set[str]:
        """Return the names of matrices that weight decay would harm, for timm's optimizers.

        Those are the rates and the direct weights of the scans and the biases of their steps,
        stored for four scans at once; all vectors are exempt as well, as usual.
        """
        exempt = ("scan.A_log", "scan.D", "scan.dt_proj_bias")
        return {name for name, _ in self.named_parameters() if name.endswith(exempt)}


def _stage(width: int, drop_paths: Sequence[float]) -> nn.Sequential:
    return nn.Sequential(
        *(VMUNetVSSBlock(width, norm_eps=NORM_EPS, drop_path=rate) for rate in drop_paths)
    )


def _rates(last: float, count: int) -> list[float]:
    return torch.linspace(0, last, count, device="cpu").tolist()


def _check_arguments(
    in_chans: int,
    num_classes: int,
    dim: int,
    depths: Sequence[int],
    depths_decoder: Sequence[int],
    drop_path_rate: float,
) -> None:
    for name, value in (("in_chans", in_chans), ("num_classes", num_classes)):
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if dim < 1 or dim % PATCH_SIZE:
        raise ValueError(
            f"dim={dim} must be a positive multiple of {PATCH_SIZE}, which the last expansion "
            "divides it by"
        )
    if not depths or len(depths) != len(depths_decoder):
        raise ValueError(
            f"depths={tuple(depths)} and depths_decoder={tuple(depths_decoder)} must have one "
            "entry per stage"
        )
    if min(*depths, *depths_decoder) < 1:
        raise ValueError(
            f"depths={tuple(depths)} and depths_decoder={tuple(depths_decoder)}: every stage needs "
            "at least one block"
        )
    if not 0 <= drop_path_rate < 1:
        raise ValueError(f"drop_path_rate={drop_path_rate} must be a probability in [0, 1)")
