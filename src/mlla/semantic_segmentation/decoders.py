"""The decoders of segmentation_models_pytorch, on a backbone of ours."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from mlla.models.model_description import is_known

#: What each decoder is given beside its defaults: UPerNet its width in the published model, the
#: others what fits maps at strides 4, 8, 16 and 32.
DECODER_ARGS: dict[str, dict[str, Any]] = {
    "unet": {},
    "unetplusplus": {},
    "manet": {},
    "linknet": {},
    "fpn": {},
    "pspnet": {"encoder_depth": 5},
    "pan": {"encoder_output_stride": 32},
    "upernet": {"decoder_channels": 512},
    "segformer": {},
}
#: What a decoder needs at least: pan halves the deepest map three times.
LEAST_SIDE_PX = {"pan": 256}
#: Decoders that take maps of any size.
SIZE_FREE_DECODERS = ("upernet",)
#: Decoders with a batch norm on a single pixel, which cannot learn from one image at a time.
POOLING_DECODERS = ("pan", "pspnet", "upernet")
# of the norms of stages in the published model
PUBLISHED_NORM_EPS = 1e-5
_UNFIT = {
    "deeplabv3": "it needs a backbone whose last stage is dilated",
    "deeplabv3plus": "it needs a backbone whose last stage is dilated",
    "dpt": "it needs a plain vision transformer, with all its maps at one stride",
}


def build_decoder_network(
    model: str,
    decoder: str,
    *,
    num_classes: int,
    model_args: Mapping[str, Any],
    decoder_args: Mapping[str, Any],
) -> nn.Module:
    """Build a network of segmentation_models_pytorch with fresh weights.

    Args:
        model: A backbone by its name in timm.
        decoder: A name in `DECODER_ARGS`.
        num_classes: Channels of the output.
        model_args: Further arguments of the backbone.
        decoder_args: Further arguments of the network.

    Returns:
        The network; its head does not enlarge the logits.

    Raises:
        ImportError: If segmentation_models_pytorch is not installed.
        ValueError: If there is no such model or decoder, or they do not take an argument.
    """
    try:
        import segmentation_models_pytorch as smp
    except ImportError as error:
        raise ImportError(
            f"decoders need segmentation_models_pytorch ({error}); pip install 'mlla[segmentation]'"
        ) from error
    if decoder not in DECODER_ARGS:
        why = _UNFIT.get(decoder)
        near = get_close_matches(decoder, DECODER_ARGS, n=1)
        reason = f": {why}" if why else f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"decoder={decoder!r} is none that fits{reason}; choose from {', '.join(DECODER_ARGS)}"
        )
    if not is_known(model):
        raise ValueError(
            f"model={model!r} is no backbone that timm knows; try mlla_tiny, mlla_small, "
            "mlla_base, another of timm.list_models(), or vm_unet"
        )
    try:
        network = smp.create_model(
            decoder,
            encoder_name=f"tu-{model}",
            encoder_weights=None,
            classes=num_classes,
            **{**DECODER_ARGS[decoder], **decoder_args},
            **model_args,
        )
    except TypeError as error:
        raise ValueError(
            f"decoder={decoder!r} on model={model!r} cannot be built with decoder_args="
            f"{dict(decoder_args)!r} and model_args={dict(model_args)!r}: {error}"
        ) from error
    # smp aligns corners when it enlarges; the published model does not
    network.segmentation_head[1] = nn.Identity()
    if decoder == "upernet":
        for norm in network.decoder.feature_norms:
            norm.eps = PUBLISHED_NORM_EPS
    return network
