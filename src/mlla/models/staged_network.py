"""What backbones of four stages have in common: the interface of a timm model."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from timm.layers import ClassifierHead
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from mlla.layers.linear import init_linear


class StagedNetwork(nn.Module):
    """A stem, stages that halve the grid between them, and a classifier.

    Grids inside are (B, H, W, C); `forward_intermediates` and timm's `features_only=True` return
    (B, C, H, W), at strides 4, 8, 16 and so on.

    Args:
        stem: From an NCHW image to a grid of a quarter of its size.
        stages: From grid to grid, each but the first with its own downsampling, and each with an
            attribute `grad_checkpointing`.
        widths: Width of the output of each stage.
        in_chans: Channels of the image.
        num_classes: Width of the output; 0 leaves the classifier out.
        global_pool: How tokens are pooled, a name that timm knows; "" for not at all.
        drop_rate: Dropout before the classifier.
        stage_norm: A layer norm on the output of every stage and no classifier.

    Raises:
        ValueError: If `stage_norm` meets a classifier.
    """

    output_fmt = "NHWC"

    def __init__(
        self,
        stem: nn.Module,
        stages: Sequence[nn.Module],
        widths: Sequence[int],
        *,
        in_chans: int,
        num_classes: int,
        global_pool: str,
        drop_rate: float,
        stage_norm: bool,
    ) -> None:
        super().__init__()
        if stage_norm and num_classes:
            raise ValueError(
                f"stage_norm=True is the detection backbone, which has no classifier, but "
                f"num_classes={num_classes}; pass features_only=True to timm.create_model, or "
                "num_classes=0"
            )
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.stage_norm = stage_norm
        self.stem = stem
        self.stages = nn.Sequential(*stages)
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
        stage: Any
        for stage in self.stages:
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


def check_stages(
    depths: Sequence[int],
    num_heads: Sequence[int],
    num_classes: int,
    drop_rate: float,
    drop_path_rate: float,
) -> None:
    """Raise unless the arguments that such networks share are in their ranges.

    Args:
        depths: Number of blocks of each stage.
        num_heads: Number of heads of each stage.
        num_classes: Width of the output.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Probability of skipping a branch.

    Raises:
        ValueError: If `depths` and `num_heads` differ in length or a depth is less than 1,
            `num_classes` is negative, or a rate is outside [0, 1).
    """
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
