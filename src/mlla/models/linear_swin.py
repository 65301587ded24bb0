"""Swin Transformer with linear attention, and the designs of Mamba as switches."""

from collections.abc import Sequence

import torch
from torch import nn

from mlla.blocks.six_designs_block import SixDesignsBlock
from mlla.layers.core_design import CoreDesign
from mlla.layers.patch_embedding import PatchEmbedding
from mlla.layers.patch_merging import PatchMerging
from mlla.models.mlla import Stage
from mlla.models.staged_network import StagedNetwork, check_stages


class LinearSwin(StagedNetwork):
    """Swin Transformer whose windows are gone: its attention is linear and sees the whole image.

    This is the network in which the paper tries what Mamba does differently, one design at a time.
    Its defaults are the baseline at the size of Swin-T. Images may have any size.

    Args:
        dim: Width of the first stage; each further stage doubles it.
        depths: Number of blocks of each stage.
        num_heads: Number of heads of each stage; all ones for a single head, whose queries and keys
            are `head_dim` wide for all channels.
        in_chans: Channels of the image.
        num_classes: Width of the output; 0 leaves the classifier out.
        global_pool: How tokens are pooled, a name that timm knows; "" for not at all.
        input_gate: Multiply values by steps computed from the token.
        forget_gate: Let the state decay by steps computed from the token. Tokens then see only
            those before them, by rows from the top left.
        shortcut: Add to each output its value, with a learned weight per channel.
        normalise: Let the weights of the values sum to one.
        block_design: "attention" (a transformer block), "sub" or "all" (Mamba's block instead of
            its first half or of both).
        positions: Position encodings: any of "ape", "lepe", "cpe" and "rope".
        head_dim: Width of the queries and keys of a head.
        mlp_ratio: Hidden width of the MLPs as a multiple of the width.
        kernel_size: Side of the depthwise convolution of "sub" and "all", odd.
        img_size: Side of the images, or height and width, in pixels, for which "ape" has a vector
            for every token; at other sizes its tables are resized. Nothing else depends on it.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Probability of skipping a branch in the last block; it grows linearly
            from 0 in the first.
        stage_norm: Put a layer norm on the output of every stage and leave the classifier out, for
            detection and segmentation.

    Raises:
        ValueError: If `depths` and `num_heads` differ in length or a depth is less than 1,
            `num_classes` is negative, a rate is outside [0, 1), `stage_norm` meets a classifier,
            or a width or a name does not fit, as in `CoreDesign` and `SixDesignsBlock`.

    Source: arXiv 2405.16605, section 5.1; arXiv 2103.14030, section 3.
    """

    def __init__(
        self,
        dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        input_gate: bool = False,
        forget_gate: bool = False,
        shortcut: bool = False,
        normalise: bool = True,
        block_design: str = "attention",
        positions: Sequence[str] = (),
        head_dim: int = 32,
        mlp_ratio: float = 4.0,
        kernel_size: int = 5,
        img_size: int | Sequence[int] = 224,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        stage_norm: bool = False,
    ) -> None:
        check_stages(depths, num_heads, num_classes, drop_rate, drop_path_rate)
        design = CoreDesign(
            input_gate=input_gate,
            forget_gate=forget_gate,
            shortcut=shortcut,
            normalise=normalise,
            positions=positions,
            head_dim=head_dim,
        )
        widths = [dim * 2**stage for stage in range(len(depths))]
        grid_sizes = _grid_sizes(img_size, len(depths))
        drop_paths = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        stem = PatchEmbedding(in_chans, dim)
        stages = [
            Stage(
                PatchMerging(widths[stage - 1]) if stage else nn.Identity(),
                [
                    SixDesignsBlock(
                        widths[stage],
                        num_heads[stage],
                        design,
                        block_design=block_design,
                        mlp_ratio=mlp_ratio,
                        kernel_size=kernel_size,
                        grid_size=grid_sizes[stage],
                        drop_path=drop_paths.pop(0),
                    )
                    for _ in range(depth)
                ],
            )
            for stage, depth in enumerate(depths)
        ]
        super().__init__(
            stem,
            stages,
            widths,
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
            drop_rate=drop_rate,
            stage_norm=stage_norm,
        )

    def no_weight_decay(self) -> set[str]:
        """Return the names of matrices that weight decay would harm, for timm's optimizers.

        Those are the rates of forget gates and the tables of positions; all vectors are exempt as
        well, as usual.
        """
        exempt = (".A_log", ".positions.table")
        return {name for name, _ in self.named_parameters() if name.endswith(exempt)}


def _grid_sizes(img_size: int | Sequence[int], num_stages: int) -> list[tuple[int, int]]:
    sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    if len(sides) != 2 or min(sides) < 1:
        raise ValueError(
            f"img_size={img_size!r} must be the side of an image in pixels, or its height and width"
        )
    strides = [4 * 2**stage for stage in range(num_stages)]
    return [(-(-sides[0] // stride), -(-sides[1] // stride)) for stride in strides]
