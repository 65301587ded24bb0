"""A segmenter: a backbone with one of the decoders of segmentation_models_pytorch, or VM-UNet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mlla.models import VMUNet
from mlla.semantic_segmentation.auxiliary_head import AuxiliaryHead
from mlla.semantic_segmentation.decoders import (
    LEAST_SIDE_PX,
    SIZE_FREE_DECODERS,
    build_decoder_network,
)

VM_UNET = "vm_unet"
# of the authors' decoder, which smp's decoders lack
DROPOUT = 0.1
# of ImageNet, which backbones are trained with
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class SegmenterPlan:
    """What it takes to build a segmenter.

    Args:
        model: A backbone by its name in timm, such as "mlla_tiny", or "vm_unet".
        decoder: A decoder of segmentation_models_pytorch by its name there, such as "upernet";
            None for "vm_unet", which has its own.
        num_classes: Classes to tell apart.
        model_args: Further arguments of the backbone or of `VMUNet`.
        decoder_args: Further arguments of the decoder, such as {"decoder_channels": 512}.
        auxiliary: Whether a second, small head reads the map of stride 16 while training.
    """

    model: str
    decoder: str | None
    num_classes: int
    model_args: Mapping[str, Any] = field(default_factory=dict)
    decoder_args: Mapping[str, Any] = field(default_factory=dict)
    auxiliary: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return asdict(self)


class Segmenter(nn.Module):
    """Tells the class of every pixel, in images of any size.

    Where the decoder needs it, images are padded on the right and at the bottom to whole pixels of
    the deepest map, with the colour that normalisation turns into zero. Logits have the size of
    the image.

    Args:
        plan: What to build.

    Raises:
        ImportError: If segmentation_models_pytorch is needed and not installed.
        ValueError: If there is no such model or decoder, or they do not go together.
    """

    def __init__(self, plan: SegmenterPlan) -> None:
        super().__init__()
        if plan.num_classes < 2:
            raise ValueError(
                f"num_classes={plan.num_classes} must be at least 2; foreground against background "
                "are two"
            )
        self.plan = plan
        self.auxiliary: nn.Module | None = None
        if plan.model == VM_UNET:
            if plan.decoder is not None or plan.decoder_args:
                raise ValueError(
                    f"decoder={plan.decoder!r}: vm_unet has its own decoder; leave it out"
                )
            self.network: Any = VMUNet(num_classes=plan.num_classes, **plan.model_args)
            self.stride, self.least_side_px = self.network.stride, 1
            return
        self.network = build_decoder_network(
            plan.model,
            plan.decoder or "upernet",
            num_classes=plan.num_classes,
            model_args=plan.model_args,
            decoder_args=plan.decoder_args,
        )
        takes_any_size = plan.decoder in SIZE_FREE_DECODERS
        self.stride = 1 if takes_any_size else self.network.encoder.output_stride
        self.least_side_px = LEAST_SIDE_PX.get(plan.decoder or "", 1)
        self.dropout = nn.Dropout2d(DROPOUT)
        if plan.auxiliary:
            channels = self.network.encoder.out_channels
            if len(channels) < 5:
                raise ValueError(
                    f"auxiliary=True reads the map of stride 16, which decoder={plan.decoder!r} "
                    "leaves out; pass auxiliary=False"
                )
            self.auxiliary = AuxiliaryHead(channels[4], plan.num_classes)

    def forward(
        self, image: Float[Tensor, "B 3 height width"]
    ) -> Float[Tensor, "B num_classes height width"] | tuple[Tensor, Tensor]:
        """Return logits; while training with an auxiliary head, a pair with its logits.

        Args:
            image: RGB from 0 to 1.
        """
        height, width = image.shape[2:]
        x = self._pad(self._normalise(image))
        if isinstance(self.network, VMUNet):
            return self.network(x)[:, :, :height, :width]
        features = self.network.encoder(x)
        second = self.auxiliary(features[4]) if self.auxiliary and self.training else None
        decoded = self.dropout(self.network.decoder(features))
        size = x.shape[2:]
        logits = _enlarge(self.network.segmentation_head(decoded), size)[:, :, :height, :width]
        if second is None:
            return logits
        return logits, _enlarge(second, size)[:, :, :height, :width]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks of the backbone in the backward pass.

        Raises:
            ValueError: If the backbone cannot.
        """
        backbone = getattr(getattr(self.network, "encoder", None), "model", None)
        switch = getattr(getattr(backbone, "model", backbone), "set_grad_checkpointing", None)
        if switch is None:
            raise ValueError(f"gradient_checkpointing: {self.plan.model} cannot recompute blocks")
        switch(enable)

    def no_weight_decay(self) -> set[str]:
        """Return names exempt from weight decay beyond the vectors: those VM-UNet names."""
        if not isinstance(self.network, VMUNet):
            return set()
        return {f"network.{name}" for name in self.network.no_weight_decay()}

    def _normalise(self, image: Tensor) -> Tensor:
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (_MEAN, _STD))
        return (image - mean) / std

    def _pad(self, image: Tensor) -> Tensor:
        height, width = (max(side, self.least_side_px) for side in image.shape[2:])
        right = width + -width % self.stride - image.shape[3]
        bottom = height + -height % self.stride - image.shape[2]
        return functional.pad(image, (0, right, 0, bottom))


def _enlarge(logits: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
