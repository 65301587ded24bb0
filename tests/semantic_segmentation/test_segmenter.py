"""Every decoder on MLLA, at odd sizes, with all gradients, and the published numbers."""

import numpy as np
import pytest
import torch
from shapes import SMALL_DECODER, TINY

from mlla.models import VMUNet, save_pretrained
from mlla.models.timm_entrypoints import mlla_tiny
from mlla.semantic_segmentation import (
    DECODER_ARGS,
    Inference,
    LabelMap,
    Segmenter,
    SegmenterPlan,
    load_segmenter,
    save_segmenter,
    segment,
)
from mlla.semantic_segmentation.backbone_weights import load_backbone

VM_UNET = {"dim": 8, "depths": (1, 1), "depths_decoder": (1, 1)}


def plan(decoder="upernet", **options):
    decoder_args = SMALL_DECODER if decoder == "upernet" else {}
    options = {"model_args": TINY, "decoder_args": decoder_args, "num_classes": 3, **options}
    return SegmenterPlan("mlla_tiny", decoder, **options)


def vm_unet(**options):
    return SegmenterPlan("vm_unet", None, 3, model_args=VM_UNET, auxiliary=False, **options)


@pytest.mark.parametrize("decoder", [*DECODER_ARGS, "vm_unet"])
def test_every_decoder_gives_logits_of_the_size_and_all_gradients(decoder):
    torch.manual_seed(0)
    model = Segmenter(vm_unet() if decoder == "vm_unet" else plan(decoder))
    size = (45, 70)
    outputs = model(torch.rand(2, 3, *size))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    assert all(logits.shape == (2, 3, *size) for logits in outputs)
    sum(logits.square().sum() for logits in outputs).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    with torch.no_grad():
        assert model.eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_published_widths():
    with torch.device("meta"):
        model = Segmenter(SegmenterPlan("mlla_base", "upernet", 150))
    assert model.network.decoder.fusion_block[0].out_channels == 512
    assert model.auxiliary.convolution.in_channels == 384
    assert model.auxiliary.convolution.out_channels == 256


def test_the_image_decides_not_its_padding():
    """What is right and below of an image of whole strides changes nothing where it is cut off."""
    model = Segmenter(plan("unet")).eval()
    image = torch.rand(1, 3, 40, 50)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    padded = mean.expand(1, 3, 64, 64).clone()
    padded[:, :, :40, :50] = image
    with torch.no_grad():
        torch.testing.assert_close(model(image), model(padded)[:, :, :40, :50])


def test_a_segmenter_comes_back_from_its_folder(tmp_path):
    labels = LabelMap({4: "a", 9: "b", 2: "c"}, ignored=[0])
    for number, what in enumerate((plan(), vm_unet())):
        model = Segmenter(what).eval()
        saved = load_segmenter(save_segmenter(model, tmp_path / str(number), labels, size_px=96))
        image = torch.rand(1, 3, 33, 40)
        with torch.no_grad():
            assert torch.equal(saved.model(image), model(image))
        assert (saved.labels.names, saved.labels.numbers) == (labels.names, labels.numbers)
        assert (saved.labels.ignored, saved.size_px) == ({0, 255}, 96)
    save_pretrained(mlla_tiny(**TINY), tmp_path / "classifier")
    with pytest.raises(ValueError, match="holds 'mlla_tiny', not a segmenter"):
        load_segmenter(tmp_path / "classifier")


def test_weights_of_a_classifier_start_the_backbone(tmp_path):
    classifier = mlla_tiny(num_classes=7, **TINY)
    save_pretrained(classifier, tmp_path / "folder")
    torch.save({"state_dict_ema": classifier.state_dict()}, tmp_path / "file.pth")
    for source in ("folder", "file.pth"):
        model = Segmenter(plan())
        load_backbone(model, tmp_path / source)
        own = model.network.encoder.model.model.state_dict()
        theirs = classifier.state_dict()
        assert own
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in own.items())
    other = Segmenter(plan(model_args={**TINY, "dim": 16}))
    with pytest.raises(ValueError, match="nothing was loaded"):
        load_backbone(other, tmp_path / "folder")
    source = VMUNet(num_classes=1, **VM_UNET)
    save_pretrained(source, tmp_path / "vm-unet")
    model = Segmenter(vm_unet())
    load_backbone(model, tmp_path / "vm-unet")
    assert torch.equal(model.network.patch_projection.weight, source.patch_projection.weight)


class Stripes(torch.nn.Module):
    """Says of each pixel how bright its channels are."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.sizes = []

    def forward(self, image):
        self.sizes.append(tuple(image.shape[2:]))
        return 10 * self.weight * image


@pytest.mark.parametrize(
    "inference",
    [
        Inference(size_px=None),
        Inference(size_px=80),
        Inference(size_px=None, window_px=16),
        Inference(size_px=None, window_px=16, stride_px=7, flip=True),
        Inference(size_px=40, scales=(0.5, 1, 1.5), flip=True),
    ],
    ids=str,
)
def test_every_way_of_looking_finds_the_brightest_channel(inference):
    image = np.zeros((40, 60, 3), np.uint8)
    for channel in range(3):
        image[:, 20 * channel : 20 * (channel + 1), channel] = 255
    model = Stripes()
    probabilities = segment(model, image, inference)
    assert probabilities.shape == (3, 40, 60)
    torch.testing.assert_close(probabilities.sum(dim=0), torch.ones(40, 60))
    found = probabilities.argmax(dim=0)[:, [2, 10, 17, 22, 30, 37, 42, 50, 57]]
    assert torch.equal(found, torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2]).expand(40, 9))
    if inference.window_px:
        assert set(model.sizes) == {(16, 16)}


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="none that fits; did you mean upernet"):
        Segmenter(plan("uppernet"))
    with pytest.raises(ValueError, match="whose last stage is dilated"):
        Segmenter(plan("deeplabv3"))
    with pytest.raises(ValueError, match="num_classes=1 must be at least 2"):
        Segmenter(plan(num_classes=1))
    with pytest.raises(ValueError, match="model='mlla_tinny' is no backbone"):
        Segmenter(SegmenterPlan("mlla_tinny", "unet", 2))
    with pytest.raises(ValueError, match="vm_unet has its own decoder"):
        Segmenter(SegmenterPlan("vm_unet", "unet", 2))
    with pytest.raises(ValueError, match=r"cannot be built with decoder_args=\{'width': 3\}"):
        Segmenter(plan("unet", decoder_args={"width": 3}))
    with pytest.raises(ValueError, match="stride_px=9 must be at most window_px=8"):
        Inference(window_px=8, stride_px=9)
    with pytest.raises(ValueError, match="must be positive, such as"):
        Inference(scales=(0,))
