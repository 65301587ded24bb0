"""The authors' Mask R-CNN files, written by mmdetection 2, as detectors of this package."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mlla.instance_segmentation.mask_rcnn import Detector
from mlla.instance_segmentation.saved_detector import Description, save_detector
from mlla.models.convert_published import identify_published
from mlla.models.published_file import read_published_file
from mlla.models.published_weights import load_published, unwrap_checkpoint

# modules of mmdetection 2, and what torchvision calls them
_MODULES = {
    r"neck\.lateral_convs\.(\d)\.conv": r"backbone.fpn.inner_blocks.\1.0",
    r"neck\.fpn_convs\.(\d)\.conv": r"backbone.fpn.layer_blocks.\1.0",
    r"rpn_head\.rpn_conv": "rpn.head.conv.0.0",
    r"rpn_head\.rpn_cls": "rpn.head.cls_logits",
    r"rpn_head\.rpn_reg": "rpn.head.bbox_pred",
    r"roi_head\.bbox_head\.shared_fcs\.0": "roi_heads.box_head.fc6",
    r"roi_head\.bbox_head\.shared_fcs\.1": "roi_heads.box_head.fc7",
    r"roi_head\.bbox_head\.fc_cls": "roi_heads.box_predictor.cls_score",
    r"roi_head\.bbox_head\.fc_reg": "roi_heads.box_predictor.bbox_pred",
    r"roi_head\.mask_head\.convs\.(\d)\.conv": r"roi_heads.mask_head.\1.0",
    r"roi_head\.mask_head\.upsample": "roi_heads.mask_predictor.conv5_mask",
    r"roi_head\.mask_head\.conv_logits": "roi_heads.mask_predictor.mask_fcn_logits",
}
# rows for the background, which torchvision puts first and never reads
_UNREAD_ROWS = {
    "roi_heads.box_predictor.bbox_pred": 4,
    "roi_heads.mask_predictor.mask_fcn_logits": 1,
}


def convert_published_detector(
    file: str | Path, folder: str | Path, *, overwrite: bool = False
) -> Description:
    """Write a published detector into a folder that `load_detector` reads.

    Args:
        file: A .pth file such as that of MLLA-T with the 1x schedule.
        folder: Where to.
        overwrite: Replace a detector that is there.

    Returns:
        What the detector is.

    Raises:
        FileNotFoundError: If there is no such file.
        FileExistsError: If the folder has weights and `overwrite` is False.
        ValueError: If the file is no Mask R-CNN on a published MLLA, or a weight is missing,
            unexpected or of another shape.
    """
    content = read_published_file(file)
    place, backbone = unwrap_checkpoint(content)
    if not place.endswith("backbone"):
        raise ValueError(
            f"{file} has no weights under 'backbone.'; of a classifier, give the file to "
            "`mlla mask-rcnn train weights=...`"
        )
    name, _ = identify_published(backbone, file)
    names = content.get("meta", {}).get("CLASSES")
    if not names:
        raise ValueError(f"{file} does not name its classes under meta, as mmdetection 2 does")
    description = Description(backbone=name, classes=dict(enumerate(map(str, names), start=1)))
    model = description.build()
    load_published(model.backbone.body, backbone)
    state = content.get("state_dict", content)
    load_published_heads(
        model, {key: value for key, value in state.items() if not key.startswith("backbone.")}
    )
    save_detector(model, description, folder, overwrite=overwrite)
    return description


def load_published_heads(model: Detector, published: Mapping[str, Tensor]) -> None:
    """Load everything but the backbone, completely or not at all.

    Args:
        model: A detector.
        published: Tensors under the names of mmdetection 2.

    Raises:
        ValueError: If a weight is missing, unexpected or of another shape.
    """
    renamed = dict(_as_torchvision(name, tensor) for name, tensor in published.items())
    own = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith("backbone.body.")
    }
    faults = [f"missing: {name}" for name in own if name not in renamed]
    faults += [f"unexpected: {name}" for name in renamed if name not in own]
    faults += [
        f"wrong shape: {name} is {tuple(renamed[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in renamed and renamed[name].shape != tensor.shape
    ]
    if faults:
        listing = "\n  ".join(faults)
        raise ValueError(f"the heads do not fit, nothing was loaded:\n  {listing}")
    model.load_state_dict(renamed, strict=False)


def _as_torchvision(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    module, _, leaf = name.rpartition(".")
    for theirs, ours in _MODULES.items():
        if re.fullmatch(theirs, module):
            module = re.sub(theirs, ours, module)
            break
    if module == "roi_heads.box_predictor.cls_score":
        # mmdetection has the background last
        tensor = tensor.roll(1, dims=0)
    elif module in _UNREAD_ROWS:
        tensor = torch.cat([tensor.new_zeros(_UNREAD_ROWS[module], *tensor.shape[1:]), tensor])
    return f"{module}.{leaf}", tensor
