"""Files of the authors' detectors, under the names of mmdetection 2."""

import pytest
import torch
from drawn_set import SMALL

from mlla.instance_segmentation import convert_published_detector, load_detector, mask_rcnn
from mlla.instance_segmentation.published_detector import load_published_heads


def small_detector():
    return mask_rcnn("mlla_tiny", 2, size_px=64, **SMALL)


def as_mmdetection(model):
    """Name the heads of a detector as mmdetection 2 does, the background last."""
    fpn, rpn, roi = model.backbone.fpn, model.rpn.head, model.roi_heads
    modules = {
        **{f"neck.lateral_convs.{i}.conv": fpn.inner_blocks[i][0] for i in range(4)},
        **{f"neck.fpn_convs.{i}.conv": fpn.layer_blocks[i][0] for i in range(4)},
        "rpn_head.rpn_conv": rpn.conv[0][0],
        "rpn_head.rpn_cls": rpn.cls_logits,
        "rpn_head.rpn_reg": rpn.bbox_pred,
        "roi_head.bbox_head.shared_fcs.0": roi.box_head.fc6,
        "roi_head.bbox_head.shared_fcs.1": roi.box_head.fc7,
        "roi_head.bbox_head.fc_cls": roi.box_predictor.cls_score,
        "roi_head.bbox_head.fc_reg": roi.box_predictor.bbox_pred,
        **{f"roi_head.mask_head.convs.{i}.conv": roi.mask_head[i][0] for i in range(4)},
        "roi_head.mask_head.upsample": roi.mask_predictor.conv5_mask,
        "roi_head.mask_head.conv_logits": roi.mask_predictor.mask_fcn_logits,
    }
    published = {}
    for name, module in modules.items():
        for leaf, value in module.state_dict().items():
            published[f"{name}.{leaf}"] = value
    for leaf in ("weight", "bias"):
        scores = published[f"roi_head.bbox_head.fc_cls.{leaf}"]
        published[f"roi_head.bbox_head.fc_cls.{leaf}"] = torch.cat([scores[1:], scores[:1]])
        boxes = published[f"roi_head.bbox_head.fc_reg.{leaf}"]
        published[f"roi_head.bbox_head.fc_reg.{leaf}"] = boxes[4:]
        masks = published[f"roi_head.mask_head.conv_logits.{leaf}"]
        published[f"roi_head.mask_head.conv_logits.{leaf}"] = masks[1:]
    return published


def test_heads_compute_the_same_under_either_names():
    torch.manual_seed(0)
    model, other = small_detector().eval(), small_detector().eval()
    other.backbone.body.load_state_dict(model.backbone.body.state_dict())
    load_published_heads(other, as_mmdetection(model))
    image = torch.rand(3, 60, 70)
    with torch.no_grad():
        (expected,), (found,) = model([image]), other([image])
    assert len(expected["scores"]) > 0
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("rpn_head.rpn_cls.bias"), "missing: rpn.head.cls_logits.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected: .extra"),
        (
            lambda state: state.update({"rpn_head.rpn_cls.bias": torch.zeros(5)}),
            r"wrong shape: rpn.head.cls_logits.bias is \(5,\), not \(3,\)",
        ),
    ],
)
def test_heads_are_loaded_completely_or_not_at_all(change, message):
    model = small_detector()
    published = as_mmdetection(model)
    change(published)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_published_heads(model, published)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_a_whole_file_becomes_a_folder(tmp_path):
    # names of the backbone as this package has them; those of the authors are tested with it
    model = mask_rcnn("mlla_tiny", 2).eval()
    backbone = model.backbone.body.model.state_dict()
    state = {f"backbone.{name}": value for name, value in backbone.items()}
    content = {"state_dict": {**state, **as_mmdetection(model)}, "meta": {"CLASSES": ("a", "b")}}
    torch.save(content, tmp_path / "mlla_t.pth")
    convert_published_detector(tmp_path / "mlla_t.pth", tmp_path / "folder")
    again, description = load_detector(tmp_path / "folder")
    assert description.backbone == "mlla_tiny"
    assert description.classes == {1: "a", 2: "b"}
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(again.backbone.state_dict()[name], value), name


def test_other_files_are_refused(tmp_path):
    torch.save({"model": {"head.weight": torch.zeros(1)}}, tmp_path / "classifier.pth")
    with pytest.raises(ValueError, match=r"no weights under 'backbone\.'"):
        convert_published_detector(tmp_path / "classifier.pth", tmp_path / "out")
    with pytest.raises(FileNotFoundError):
        convert_published_detector(tmp_path / "none.pth", tmp_path / "out")
