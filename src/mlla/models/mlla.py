"""MLLA as an image classifier and as a backbone, with the interface of a timm model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import ClassifierHead
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mlla.blocks.mlla_block import MLLABlock
from mlla.layers.downsample import Downsample
from mlla.layers.linear import init_linear
from mlla.layers.stem import Stem
from mlla.models.mlla_names import rename_published_state


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


class MLLA(nn.Module):
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

    output_fmt = "NHWC"

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
        super().__init__()
        _check_arguments(depths, num_heads, num_classes, drop_rate, drop_path_rate)
        if stage_norm and num_classes:
            raise ValueError(
                f"stage_norm=True is the detection backbone, which has no classifier, but "
                f"num_classes={num_classes}; pass features_only=True to timm.create_model, or "
                "num_classes=0"
            )
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.stage_norm = stage_norm
        widths = [dim * 2**stage for stage in range(len(depths))]
        drop_paths = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").tolist()

        self.stem = Stem(in_chans, dim)
        self.stages = nn.Sequential()
        for stage, (width, depth, heads) in enumerate(zip(widths, depths, num_heads, strict=True)):
            self.stages.append(
                Stage(
                    Downsample(width // 2, width) if stage else nn.Identity(),
                    [
                        MLLABlock(width, heads, mlp_ratio=mlp_ratio, drop_path=drop_paths.pop(0))
                        for _ in range(depth)
                    ],
                )
            )
        self.stage_norms = nn.ModuleList(
            nn.LayerNorm(width) if stage_norm else nn.Identity() for width in widths
        )
        self.num_features = widths[-1]
        self.norm = nn.Identity() if stage_norm else nn.LayerNorm(self.num_features)
        self.head = ClassifierHead(
            self.num_features, num_classes, global_pool, drop_rate, input_fmt="NHWC"
        )
        self.feature_info = [
            {"num_chs": width, "reduction": 4 * 2**stage, "module": f"stages.{stage}"}
            for stage, width in enumerate(widths)
        ]
        self.head.apply(init_linear)
        self.register_load_state_dict_pre_hook(_accept_published_names)

    @property
    def head_hidden_size(self) -> int:
        """Width of the pooled features that the classifier reads."""
        return self.num_features * self.head.global_pool.feat_mult()

    def forward_features(
        self, image: Float[Tensor, "B in_chans height width"]
    ) -> Float[Tensor, "B H W C"]:
        """Return the normalised output of the last stage, as a grid."""
        return self.norm(self.stage_norms[-1](self.stages(self.stem(image))))

    def forward_head(self, x: Float[Tensor, "B H W C"], pre_logits: bool = False) -> Tensor:
        """Pool and, unless `pre_logits`, classify."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, image: Float[Tensor, "B in_chans height width"]) -> Tensor:
        """Return logits (B, num_classes), or pooled features (B, C) without a classifier."""
        return self.forward_head(self.forward_features(image))

    def forward_intermediates(
        self,
        image: Float[Tensor, "B in_chans height width"],
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the outputs of chosen stages, before any downsampling.

        Args:
            image: The image.
            indices: Stages to return: the last n for an int, all for None.
            norm: Apply the classifier's norm to the last stage's output, the only one it fits.
            stop_early: Stop after the last of these stages.
            output_fmt: "NCHW" or "NHWC".
            intermediates_only: Leave out the final features.

        Returns:
            The outputs in the order of the stages; before them, unless `intermediates_only`,
            what `forward_features` returns (after an early stop, the last stage's raw output).

        Raises:
            ValueError: If `output_fmt` is neither of the two.
        """
        if output_fmt not in ("NCHW", "NHWC"):
            raise ValueError(f"output_fmt={output_fmt!r} must be 'NCHW' or 'NHWC'")
        taken, last_taken = feature_take_indices(len(self.stages), indices)
        last_stage = len(self.stages) - 1
        intermediates = []
        x = self.stem(image)
        for index in range(last_taken + 1 if stop_early else len(self.stages)):
            x = self.stages[index](x)
            feature = self.stage_norms[index](x)
            if index in taken:
                is_normed = norm and index == last_stage
                intermediates.append(self.norm(feature) if is_normed else feature)
            if index == last_stage:
                x = self.norm(feature)
        if output_fmt == "NCHW":
            intermediates = [feature.permute(0, 3, 1, 2) for feature in intermediates]
        return intermediates if intermediates_only else (x, intermediates)

    def prune_intermediate_layers(
        self,
        indices: int | Sequence[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the chosen stages do not need.

        Args:
            indices: Stages to keep the outputs of, as in `forward_intermediates`.
            prune_norm: Remove the classifier's norm.
            prune_head: Remove the classifier; it goes with the last stage in any case.

        Returns:
            The chosen stages as non-negative numbers.
        """
        taken, last_taken = feature_take_indices(len(self.stages), indices)
        loses_last_stage = last_taken < len(self.stages) - 1
        self.stages = self.stages[: last_taken + 1]
        self.stage_norms = nn.ModuleList(
            norm if stage in taken else nn.Identity()
            for stage, norm in enumerate(self.stage_norms[: last_taken + 1])
        )
        self.num_features = self.feature_info[last_taken]["num_chs"]
        if prune_norm or loses_last_stage:
            self.norm = nn.Identity()
        if prune_head or loses_last_stage:
            self.reset_classifier(0, "")
        return taken

    def get_classifier(self) -> nn.Module:
        """Return the last linear layer."""
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier by a fresh one.

        Args:
            num_classes: Width of the output; 0 leaves the classifier out.
            global_pool: A new pooling; None keeps the present one.

        Raises:
            ValueError: If `num_classes` is negative, or not 0 for a detection backbone.
        """
        if num_classes < 0 or (num_classes and self.stage_norm):
            raise ValueError(
                f"num_classes={num_classes} must be at least 0, and 0 with stage_norm=True"
            )
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool)
        self.head.apply(init_linear)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks in the backward pass instead of keeping their activations."""
        for stage in self.modules():
            if isinstance(stage, Stage):
                stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Return timm's patterns for grouping parameters by depth."""
        previous_group = (99999,)
        norms = [(r"^stage_norms\.(\d+)", previous_group), (r"^norm", previous_group)]
        blocks = [(r"^stages\.(\d+)\.downsample", (0,)), (r"^stages\.(\d+)\.blocks\.(\d+)", None)]
        return {
            "stem": r"^stem",
            "blocks": ([(r"^stages\.(\d+)", None)] if coarse else blocks) + norms,
            "head": r"^head",
        }

    def no_weight_decay(self) -> set[str]:
        """Return names exempt from weight decay: none beyond the vectors, which timm exempts."""
        return set()


def _check_arguments(
    depths: Sequence[int],
    num_heads: Sequence[int],
    num_classes: int,
    drop_rate: float,
    drop_path_rate: float,
) -> None:
    if not depths or len(depths) != len(num_heads):
        raise ValueError(
            f"depths={tuple(depths)} and num_heads={tuple(num_heads)} must have one entry per stage"
        )
    if min(depths) < 1:
        raise ValueError(f"depths={tuple(depths)}: every stage needs at least one block")
    if num_classes < 0:
        raise ValueError(f"num_classes={num_classes} must be at least 0 (no classifier)")
    for name, rate in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if not 0 <= rate < 1:
            raise ValueError(f"{name}={rate} must be a probability in [0, 1)")


def _accept_published_names(
    _mlla: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object
) -> None:
    """Let `load_state_dict`, and with it timm's `checkpoint_path=`, read the authors' names."""
    own = {name.removeprefix(prefix): name for name in state_dict if name.startswith(prefix)}
    tensors = {name: state_dict.pop(full_name) for name, full_name in own.items()}
    for name, tensor in rename_published_state(tensors).items():
        state_dict[prefix + name] = tensor
