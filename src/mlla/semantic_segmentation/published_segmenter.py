"""The authors' UPerNet files, written by mmsegmentation 0.x, as segmenters of this package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from mlla.models import load_published
from mlla.models.convert_published import identify_published
from mlla.models.published_file import read_published_file
from mlla.models.published_weights import unwrap_checkpoint
from mlla.semantic_segmentation.label_map import LabelMap
from mlla.semantic_segmentation.segmenter import Segmenter, SegmenterPlan
from mlla.semantic_segmentation.segmenter_folder import save_segmenter

# of the shorter side of images, as the authors score
_SIZE_PX = 512
# modules of mmsegmentation, and ours; {reversed} counts from the coarsest map, as smp does
_MODULES = {
    r"decode_head\.psp_modules\.(\d)\.1": "network.decoder.psp.blocks.{number}.1",
    r"decode_head\.bottleneck": "network.decoder.psp.out_conv",
    r"decode_head\.lateral_convs\.(\d)": (
        "network.decoder.fpn_lateral_blocks.{reversed}.conv_norm_relu"
    ),
    r"decode_head\.fpn_convs\.(\d)": "network.decoder.fpn_conv_blocks.{reversed}",
    r"decode_head\.fpn_bottleneck": "network.decoder.fusion_block",
    r"decode_head\.conv_seg": "network.segmentation_head.0",
    r"auxiliary_head\.convs\.0": "auxiliary",
    r"auxiliary_head\.conv_seg": "auxiliary.classifier",
    r"backbone\.norm(\d)": "network.decoder.feature_norms.{number}",
}
_LAST_LATERAL = 2
# parts of a convolution with its norm, there and here
_PARTS = {"conv": "0", "bn": "1"}
_AUXILIARY_PARTS = {"conv": "convolution", "bn": "norm"}


def convert_published_segmenter(file: str | Path, folder: str | Path) -> SegmenterPlan:
    """Write a published segmenter into a folder that `load_segmenter` reads.

    Args:
        file: The .pth file of UPerNet on MLLA.
        folder: Where to; it must not have weights yet.

    Returns:
        What the segmenter is.

    Raises:
        FileExistsError: If the folder has weights.
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no UPerNet on a published MLLA, or a weight is missing,
            unexpected or of another shape.
    """
    content = read_published_file(file)
    state = content.get("state_dict", content)
    place, backbone = unwrap_checkpoint(content)
    classifier = state.get("decode_head.conv_seg.weight")
    if not place.endswith("backbone") or classifier is None:
        raise ValueError(
            f"{file} has no weights under 'backbone.' and 'decode_head.'; of a classifier, give "
            "the file to `mlla semantic train weights=...`"
        )
    names = content.get("meta", {}).get("CLASSES") or range(len(classifier))
    plan = SegmenterPlan(
        model=identify_published(backbone, file)[0],
        decoder="upernet",
        num_classes=len(classifier),
        decoder_args={"decoder_channels": classifier.shape[1]},
        auxiliary="auxiliary_head.conv_seg.weight" in state,
    )
    model = Segmenter(plan)
    load_published_segmenter(model, state)
    # ADE20K, whose masks have 0 where nothing is named
    labels = LabelMap(dict(enumerate(map(str, names), start=1)), ignored=[0])
    save_segmenter(model, folder, labels, size_px=_SIZE_PX)
    return plan


def load_published_segmenter(model: Segmenter, published: Mapping[str, Tensor]) -> None:
    """Load the weights of a published segmenter, completely or not at all.

    Args:
        model: UPerNet on MLLA.
        published: Tensors under the names of mmsegmentation.

    Raises:
        ValueError: If a weight is missing, unexpected or of another shape.
    """
    is_norm = re.compile(r"backbone\.norm\d\.")
    backbone = {
        name.removeprefix("backbone."): tensor
        for name, tensor in published.items()
        if name.startswith("backbone.") and not is_norm.match(name)
    }
    heads = {
        rename_published_head(name): tensor
        for name, tensor in published.items()
        if not name.startswith("backbone.") or is_norm.match(name)
    }
    own = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("network.encoder.")
    }
    faults = [f"missing: {name}" for name in own if name not in heads]
    faults += [f"unexpected: {name}" for name in heads if name not in own]
    faults += [
        f"wrong shape: {name} is {tuple(heads[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in heads and heads[name].shape != tensor.shape
    ]
    if faults:
        listing = "\n  ".join(faults)
        raise ValueError(f"the heads do not fit, nothing was loaded:\n  {listing}")
    load_published(model.network.encoder.model.model, backbone)
    model.load_state_dict(heads, strict=False)


def rename_published_head(name: str) -> str:
    """Return our name for a parameter of mmsegmentation; unknown names come back as they are."""
    for theirs, ours in _MODULES.items():
        match = re.match(rf"{theirs}\.", name)
        if match is None:
            continue
        number = int(match[1]) if match.groups() else 0
        module = ours.format(number=number, reversed=_LAST_LATERAL - number)
        part, _, leaf = name[match.end() :].partition(".")
        parts = _AUXILIARY_PARTS if module == "auxiliary" else _PARTS
        return f"{module}.{parts[part]}.{leaf}" if part in parts else f"{module}.{part}"
    return name
