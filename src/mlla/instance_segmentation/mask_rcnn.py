"""Mask R-CNN with a feature pyramid on any backbone: torchvision's, with the published parts."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only
from torchvision.models.detection import MaskRCNN
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from mlla.instance_segmentation.anchors import PyramidAnchors
from mlla.instance_segmentation.roi_pooling import PyramidRoIAlign
from mlla.models.feature_backbone import create_feature_backbone

#: Shorter and longer side, in pixels, that the published detectors see at evaluation.
PUBLISHED_SIZE_PX = (800, 1333)
_IMAGE_MEAN, _IMAGE_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PYRAMID_WIDTH = 256
# what may differ without another structure of weights
_DETECTOR_OPTIONS = {
    "rpn_pre_nms_top_n_train",
    "rpn_pre_nms_top_n_test",
    "rpn_post_nms_top_n_train",
    "rpn_post_nms_top_n_test",
    "rpn_nms_thresh",
    "rpn_fg_iou_thresh",
    "rpn_bg_iou_thresh",
    "rpn_batch_size_per_image",
    "rpn_positive_fraction",
    "rpn_score_thresh",
    "box_score_thresh",
    "box_nms_thresh",
    "box_detections_per_img",
    "box_fg_iou_thresh",
    "box_bg_iou_thresh",
    "box_batch_size_per_image",
    "box_positive_fraction",
}


class PyramidBackbone(nn.Module):
    """A backbone and the feature pyramid on its maps.

    Args:
        body: Returns one map (B, C, H, W) per stage.
        widths: Channels of these maps.
        out_channels: Channels of every level of the pyramid.

    Source: arXiv 1612.03144, section 3.
    """

    def __init__(
        self, body: nn.Module, widths: Sequence[int], out_channels: int = _PYRAMID_WIDTH
    ) -> None:
        super().__init__()
        self.body = body
        self.fpn = FeaturePyramidNetwork(list(widths), out_channels, LastLevelMaxPool())
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the levels by name, finest first; the last is the one before, subsampled."""
        maps = self.body(images)
        return self.fpn({str(level): feature_map for level, feature_map in enumerate(maps)})


class Detector(MaskRCNN):  # type: ignore[misc]
    """torchvision's Mask R-CNN, whose backbone can trade time for memory."""

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute the blocks of the backbone in the backward pass."""
        self.backbone.body.model.set_grad_checkpointing(enable)


def longest_side_px(size_px: int) -> int:
    """Return the limit of the longer side that goes with a shorter side, as in 800 x 1333."""
    shorter, longer = PUBLISHED_SIZE_PX
    return round(size_px * longer / shorter)


def mask_rcnn(
    backbone: str,
    num_classes: int,
    *,
    size_px: int = PUBLISHED_SIZE_PX[0],
    drop_path_rate: float = 0.1,
    backbone_options: dict[str, Any] | None = None,
    detector_options: dict[str, Any] | None = None,
) -> Detector:
    """Build Mask R-CNN with randomly initialised weights.

    In training it takes images already resized, with their targets, and returns five losses; in
    evaluation it resizes, and returns boxes, labels, scores and masks on the original images.
    Labels count from 1, as torchvision keeps 0 for the background.

    Args:
        backbone: Name of a timm model with maps at strides 4, 8, 16 and 32.
        num_classes: Number of classes without the background.
        size_px: Length that the shorter side of an image is brought to at evaluation; the longer
            stays within 1333/800 of it.
        drop_path_rate: Probability of skipping a branch in the last block of the backbone.
        backbone_options: Further arguments of the timm model.
        detector_options: Further arguments of torchvision's `MaskRCNN`, such as
            `{"box_detections_per_img": 300}` for images with many objects.

    Returns:
        The model.

    Raises:
        ValueError: If `num_classes` or `size_px` is less than 1, torchvision does not take an
            option, or as `create_feature_backbone`.

    Source: arXiv 1703.06870; the authors' mlla_t_mrcnn_1x in LeapLabTHU/MLLA @83a7e43.
    """
    for argument, value in (("num_classes", num_classes), ("size_px", size_px)):
        if value < 1:
            raise ValueError(f"{argument}={value} must be at least 1")
    options = dict(detector_options or {})
    if unknown := sorted(set(options) - _DETECTOR_OPTIONS):
        raise ValueError(
            f"detector_options has {', '.join(unknown)}; it may have "
            f"{', '.join(sorted(_DETECTOR_OPTIONS))}"
        )
    body = create_feature_backbone(
        backbone, drop_path_rate=drop_path_rate, **(backbone_options or {})
    )
    model = Detector(
        PyramidBackbone(body, body.feature_info.channels()),
        num_classes + 1,
        min_size=size_px,
        max_size=longest_side_px(size_px),
        image_mean=_IMAGE_MEAN,
        image_std=_IMAGE_STD,
        # the dataset resizes, so that a sample does not depend on which process loads it
        _skip_resize=True,
        **{"rpn_post_nms_top_n_train": 1000, **options},
    )
    model.rpn.anchor_generator = PyramidAnchors()
    model.roi_heads.box_roi_pool = PyramidRoIAlign(7)
    model.roi_heads.mask_roi_pool = PyramidRoIAlign(14)
    # boxes are computed in the type of these outputs, and bfloat16 knows 800 pixels to within four
    for head in (model.rpn.head, model.roi_heads.box_predictor, model.roi_heads.mask_predictor):
        head.register_forward_hook(_to_single_precision)
    return model


def _to_single_precision(_head: nn.Module, _inputs: object, outputs: Any) -> Any:
    return tree_map_only(Tensor, torch.Tensor.float, outputs)
