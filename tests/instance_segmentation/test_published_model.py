"""The detector against the published figures, and its own parts against first principles."""

import math

import pytest
import torch
from drawn_set import SMALL
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator

from mlla.instance_segmentation import mask_rcnn
from mlla.instance_segmentation.anchors import PyramidAnchors
from mlla.instance_segmentation.roi_pooling import PyramidRoIAlign

# arXiv 2405.16605, table 4: parameters in millions, multiply-adds in billions at 1280x800
PUBLISHED = {"tiny": (44, 255), "small": (63, 319), "base": (115, 502)}
# what the authors' counter takes for the heads: boxes of 1000 proposals, masks of 100
NUM_BOXES, NUM_MASKS = 1000, 100


def small_detector(**options):
    given = {**SMALL["detector_options"], **options}
    return mask_rcnn("mlla_tiny", 2, size_px=64, **{**SMALL, "detector_options": given})


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameters_are_the_published_ones(size):
    with torch.device("meta"):
        model = mask_rcnn(f"mlla_{size}", 80)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert math.floor(millions) == PUBLISHED[size][0] or round(millions) == PUBLISHED[size][0]


@pytest.mark.parametrize(
    "size", ["tiny", *(pytest.param(size, marks=pytest.mark.slow) for size in ("small", "base"))]
)
def test_multiply_adds_are_near_the_published_ones(size):
    with torch.device("meta"):
        model = mask_rcnn(f"mlla_{size}", 80).eval()
        image = torch.empty(1, 3, 800, 1280)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            levels = model.backbone(image)
            model.rpn.head(list(levels.values()))
            heads = model.roi_heads
            heads.box_predictor(heads.box_head(torch.empty(NUM_BOXES, 256, 7, 7)))
            heads.mask_predictor(heads.mask_head(torch.empty(NUM_MASKS, 256, 14, 14)))
    billions = counter.get_total_flops() / 2e9
    # the counter leaves out norms and everything else that is done to single elements
    assert billions == pytest.approx(PUBLISHED[size][1], rel=0.005)


def test_anchors_are_those_of_the_published_detector():
    anchors = PyramidAnchors()(*_levels(800, 1216))[0]
    # three shapes of area 32 x 32 around the first corner, tall ones last
    root = math.sqrt(2)
    wide = [-16 * root, -8 * root, 16 * root, 8 * root]
    tall = [-8 * root, -16 * root, 8 * root, 16 * root]
    expected = torch.tensor([wide, [-16, -16, 16, 16], tall])
    torch.testing.assert_close(anchors[:3], expected)
    # 13 rows over 800 pixels, yet 64 pixels apart
    last = anchors.view(-1, 3, 4)[-1, 1]
    assert last.tolist() == [18 * 64 - 256, 12 * 64 - 256, 18 * 64 + 256, 12 * 64 + 256]


def test_anchors_are_in_the_order_that_torchvision_reads():
    images, maps = _levels(128, 192)
    theirs = AnchorGenerator(((32,), (64,), (128,), (256,), (512,)), ((0.5, 1.0, 2.0),) * 5)
    ours, rounded = PyramidAnchors()(images, maps)[0], theirs(images, maps)[0]
    assert ours.shape == rounded.shape
    assert (ours - rounded).abs().max() <= 0.5


@pytest.mark.parametrize(("side_px", "stride"), [(20, 4), (111, 4), (112, 8), (224, 16), (448, 32)])
def test_pooling_returns_the_coordinates_of_the_bins(side_px, stride):
    # bilinear sampling is exact on a map whose cells hold the x of their centres in the image
    strides, height, width = (4, 8, 16, 32), 480, 512
    maps = {}
    for level, step in enumerate(strides):
        centres = (torch.arange(width // step) + 0.5) * step
        own = centres if step == stride else torch.full_like(centres, float("nan"))
        maps[str(level)] = own.expand(1, 1, height // step, -1)
    left = 30.0
    box = torch.tensor([[left, 10.0, left + side_px, 10.0 + side_px]])
    pooled = PyramidRoIAlign(7, strides)(maps, [box], [(height, width)])
    expected = left + (torch.arange(7) + 0.5) * side_px / 7
    torch.testing.assert_close(pooled[0, 0], expected.expand(7, 7), rtol=0, atol=1e-3)


def test_pooling_keeps_images_and_boxes_in_order():
    maps = {str(level): torch.zeros(3, 1, 64 // 2**level, 64 // 2**level) for level in range(4)}
    for feature_map in maps.values():
        feature_map += torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1, 1)
    big, little = [0.0, 0.0, 230.0, 230.0], [8.0, 8.0, 40.0, 40.0]
    boxes = [torch.tensor([big, little]), torch.zeros(0, 4), torch.tensor([little, big, little])]
    pooled = PyramidRoIAlign(2)(maps, boxes, [(256, 256)] * 3)
    assert pooled[:, 0, 0, 0].tolist() == [1, 1, 3, 3, 3]


def test_boxes_keep_their_precision_under_autocast():
    model = small_detector().eval()
    kept = []
    model.rpn.register_forward_hook(lambda _module, _inputs, outputs: kept.append(outputs[0][0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (found,) = model([torch.rand(3, 64, 80)])
    assert kept[0].dtype == torch.float32
    assert found["boxes"].dtype == torch.float32


def test_gradients_can_be_checkpointed():
    torch.manual_seed(0)
    model = small_detector().train()
    target = {
        "boxes": torch.tensor([[5.0, 5.0, 40.0, 40.0]]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, 64, 64, dtype=torch.uint8),
    }
    image = torch.rand(3, 64, 64)
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        assert model.backbone.body.model.stages[0].grad_checkpointing is enable
        model.zero_grad()
        torch.manual_seed(1)
        sum(model([image], [target]).values()).backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_images_without_objects_give_every_weight_a_gradient():
    model = small_detector().train()
    nothing = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 64, 64, dtype=torch.uint8),
    }
    sum(model([torch.rand(3, 64, 64)] * 2, [nothing, nothing]).values()).backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "mlla_tyni"}, "no name that timm knows"),
        ({"backbone": "vit_tiny_patch16_224"}, "strides"),
        ({"backbone_options": {"dpeths": 3}}, "dpeths"),
        ({"detector_options": {"box_nms": 0.5}}, "box_nms"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"size_px": 0}, "size_px=0"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    given = {"backbone": "mlla_tiny", "num_classes": 2, **change}
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        mask_rcnn(**given)


@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224"])
def test_other_backbones_of_timm_fit(name):
    with torch.device("meta"):
        model = mask_rcnn(name, 2)
        levels = model.backbone(torch.empty(1, 3, 224, 224))
    assert [level.shape[-1] for level in levels.values()] == [56, 28, 14, 7, 4]


def _levels(height, width):
    images = ImageList(torch.zeros(1, 3, height, width), [(height, width)])
    sizes = [(math.ceil(height / s), math.ceil(width / s)) for s in (4, 8, 16, 32, 64)]
    return images, [torch.zeros(1, 1, *size) for size in sizes]
