"""MLLA as an image classifier and as a backbone, with the interface of a timm model."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlla.blocks.mlla_block import MLLABlock
from mlla.layers.downsample import Downsample
from mlla.layers.stem import Stem
from mlla.models.mlla_names import rename_published_state
from mlla.models.staged_network import StagedNetwork, check_stages


class Stage(nn.Module):
    """Blocks of one width, after the downsampling that leads to them.

    Args:
        downsample: What comes before the blocks.
        blocks: The blocks.
    """

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)
        self.grad_checkpointing = False

    def forward(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w c"]:
        """Reduce and refine the grid."""
        x = self.downsample(x)
        if not self.grad_checkpointing:
            return self.blocks(x)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False)
        return x


class MLLA(StagedNetwork):
    """Mamba-like linear attention network, for images of any size.

    Grids inside are (B, H, W, C); `forward_intermediates` and timm's `features_only=True` return
    (B, C, H, W), at strides 4, 8, 16 and 32.

    Args:
        dim: Width of the first stage; each further stage doubles it.
        depths: Number of blocks of each stage.
        num_heads: Number of heads of each stage.
        in_chans: Channels of the image.
        num_classes: Width of the output; 0 leaves the classifier out.
        global_pool: How tokens are pooled, a name that timm knows; "" for not at all.
        mlp_ratio: Hidden width of the MLPs as a multiple of the width.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Probability of skipping a branch in the last block; it grows linearly
            from 0 in the first.
        stage_norm: Build the authors' detection backbone: a layer norm on the output of every
            stage and no classifier.

    Raises:
        ValueError: If `depths` and `num_heads` differ in length or a depth is less than 1,
            `num_classes` is negative, a rate is outside [0, 1), `stage_norm` meets a classifier,
            or a width does not fit, as in `Stem` and `MLLABlock`.

    Source: arXiv 2405.16605, section 4.2; MLLA in LeapLabTHU/MLLA @66b6d29.
    """

    def __init__(
        self,
        dim: int = 64,
        depths: Sequence[int] = (2, 4, 8, 4),
        num_heads: Sequence[int] = (2, 4, 8, 16),
        *,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        mlp_ratio: float = 4.0,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        stage_norm: bool = False,
    ) -> None:
        check_stages(depths, num_heads, num_classes, drop_rate, drop_path_rate)
        widths = [dim * 2**stage for stage in range(len(depths))]
        drop_paths = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()
        stem = Stem(in_chans, dim)
        stages = [
            Stage(
                Downsample(width // 2, width) if stage else nn.Identity(),
                [
                    MLLABlock(width, heads, mlp_ratio=mlp_ratio, drop_path=drop_paths.pop(0))
                    for _ in range(depth)
                ],
            )
            for stage, (width, depth, heads) in enumerate(
                zip(widths, depths, num_heads, strict=True)
            )
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
        self.register_load_state_dict_pre_hook(_accept_published_names)

    def no_weight_decay(self) -> set[str]:
        """Return names exempt from weight decay: none beyond the vectors, which timm exempts."""
        return set()


def _accept_published_names(
    _mlla: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Let `load_state_dict`, and with it timm's `checkpoint_path=`, read the authors' names."""
    own = {name.removeprefix(prefix): name for name in state_dict if name.startswith(prefix)}
    tensors = {name: state_dict.pop(full_name) for name, full_name in own.items()}
    for name, tensor in rename_published_state(tensors).items():
        state_dict[prefix + name] = tensor
