"""MLLA as the backbone of Hugging Face's detectors, through their timm backbone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from timm.models import register_model

import mlla

transformers = pytest.importorskip("transformers")

SMALL = {"dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
WIDTHS = [32, 64, 128]
DETECTORS = ["RTDetr", "RTDetrV2", "DFine"]


@register_model
def small_test_mlla(pretrained=False, **kwargs):
    return timm.create_model("mlla_tiny", pretrained, **{**SMALL, **kwargs})


def detector(family, **options):
    backbone = transformers.TimmBackboneConfig(backbone="small_test_mlla", out_indices=[1, 2, 3])
    config = getattr(transformers, f"{family}Config")(
        **{
            "backbone_config": backbone,
            "encoder_in_channels": WIDTHS,
            "num_labels": 3,
            "freeze_backbone_batch_norms": False,
            "d_model": 32,
            "encoder_hidden_dim": 32,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "decoder_in_channels": [32, 32, 32],
            "decoder_layers": 2,
            "num_queries": 10,
            "num_denoising": 4,
            **options,
        }
    )
    return getattr(transformers, f"{family}ForObjectDetection")(config)


def timm_model(model):
    return model.model.backbone.model._backbone


@pytest.mark.parametrize("family", DETECTORS)
def test_a_detector_learns_and_its_backbone_with_it(family):
    # queries for denoising are drawn anew in each step
    model = detector(family, num_denoising=0)
    assert isinstance(timm_model(model).model, mlla.MLLA)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    # the necks of these detectors want multiples of 32
    pixels = torch.rand(2, 3, 64, 96)
    label = {"class_labels": torch.tensor([1]), "boxes": torch.tensor([[0.5, 0.5, 0.4, 0.3]])}
    losses = []
    for _ in range(6):
        loss = model(pixel_values=pixels, labels=[label, label]).loss
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None for weight in timm_model(model).parameters())
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[1:]) < losses[0]


@pytest.mark.parametrize("freeze", [True, False])
def test_the_backbone_takes_the_weights_of_a_classifier(freeze):
    classifier = timm.create_model("small_test_mlla")
    images = torch.rand(2, 3, 64, 64)
    # statistics of the stem other than those at the start, which a frozen norm has to take over
    classifier(images)
    classifier.eval()
    model = detector("RTDetr", freeze_backbone_batch_norms=freeze).eval()
    mlla.load_published(timm_model(model), classifier.state_dict())
    expected = classifier.forward_intermediates(images, [1, 2, 3], intermediates_only=True)
    found = model.model.backbone.model(images).feature_maps
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_saved_detector_is_read_by_a_new_process(tmp_path):
    backbone = transformers.TimmBackboneConfig(backbone="mlla_tiny", out_indices=[1, 2, 3])
    found = transformers.RTDetrConfig(backbone_config=backbone, encoder_in_channels=[128, 256, 512])
    found.save_pretrained(tmp_path)
    code = (
        "import mlla, torch, transformers\n"
        f"config = transformers.AutoConfig.from_pretrained({str(tmp_path)!r})\n"
        "with torch.device('meta'):\n"
        "    model = transformers.AutoModelForObjectDetection.from_config(config)\n"
        "assert isinstance(model.model.backbone.model._backbone.model, mlla.MLLA)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)


def test_a_detector_comes_back_from_a_folder(tmp_path):
    model = detector("DFine").eval()
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model(pixels).logits, again(pixels).logits)


@pytest.mark.slow
def test_the_documented_code_runs():
    text = (Path(__file__).parents[2] / "docs" / "hugging-face.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    routes = [block for block in blocks if "ForObjectDetection" in block]
    assert len(routes) == 2
    for block in routes:
        names = {}
        exec(block.replace("640, 640", "160, 160"), names)
        weights = names["model"].model.backbone.parameters()
        assert all(weight.grad is not None for weight in weights)
