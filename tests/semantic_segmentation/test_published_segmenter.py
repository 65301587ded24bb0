"""UPerNet with the names of mmsegmentation: the same output as its head, written out plainly."""

import pytest
import torch
from shapes import TINY
from torch.nn import functional

from mlla.models.timm_entrypoints import mlla_tiny
from mlla.semantic_segmentation import Segmenter, SegmenterPlan, load_segmenter
from mlla.semantic_segmentation.published_segmenter import (
    convert_published_segmenter,
    load_published_segmenter,
)

WIDTHS, CHANNELS, CLASSES = (8, 16, 32, 64), 12, 5


def convolution(out, inside, kernel=3):
    return {
        "conv.weight": torch.randn(out, inside, kernel, kernel) / (inside * kernel**2) ** 0.5,
        "bn.weight": 1 + 0.1 * torch.randn(out),
        "bn.bias": 0.1 * torch.randn(out),
        "bn.running_mean": 0.1 * torch.randn(out),
        "bn.running_var": 1 + 0.1 * torch.rand(out),
        "bn.num_batches_tracked": torch.tensor(7),
    }


def published(backbone, widths=WIDTHS, channels=CHANNELS, classes=CLASSES):
    """Return a state dict as mmsegmentation 0.x writes it."""
    parts = {
        f"decode_head.psp_modules.{i}.1": convolution(channels, widths[3], 1) for i in range(4)
    }
    parts["decode_head.bottleneck"] = convolution(channels, widths[3] + 4 * channels)
    for i in range(3):
        parts[f"decode_head.lateral_convs.{i}"] = convolution(channels, widths[i], 1)
        parts[f"decode_head.fpn_convs.{i}"] = convolution(channels, channels)
    parts["decode_head.fpn_bottleneck"] = convolution(channels, 4 * channels)
    parts["auxiliary_head.convs.0"] = convolution(256, widths[2])
    state = {f"{part}.{leaf}": t for part, leaves in parts.items() for leaf, t in leaves.items()}
    for head, width in (("decode_head", channels), ("auxiliary_head", 256)):
        state[f"{head}.conv_seg.weight"] = torch.randn(classes, width, 1, 1) / width**0.5
        state[f"{head}.conv_seg.bias"] = torch.randn(classes)
    for stage, width in enumerate(widths):
        state[f"backbone.norm{stage}.weight"] = 1 + 0.1 * torch.randn(width)
        state[f"backbone.norm{stage}.bias"] = 0.1 * torch.randn(width)
    state |= {f"backbone.{name}": tensor for name, tensor in backbone.items()}
    return state


def conv_norm_relu(state, part, x):
    weight = state[f"{part}.conv.weight"]
    x = functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
    mean, var = state[f"{part}.bn.running_mean"], state[f"{part}.bn.running_var"]
    norm = functional.batch_norm(x, mean, var, state[f"{part}.bn.weight"], state[f"{part}.bn.bias"])
    return norm.relu()


def enlarge(x, like):
    size = like.shape[2:] if isinstance(like, torch.Tensor) else like
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


def uper_head(state, maps, size):
    """The head of arXiv 1807.10221, figure 4, in the names of mmsegmentation."""
    head = "decode_head."
    pooled = [maps[3]]
    for i, bins in enumerate((1, 2, 3, 6)):
        part = conv_norm_relu(
            state, f"{head}psp_modules.{i}.1", functional.adaptive_avg_pool2d(maps[3], bins)
        )
        pooled.append(enlarge(part, maps[3]))
    laterals = [conv_norm_relu(state, f"{head}lateral_convs.{i}", maps[i]) for i in range(3)]
    laterals.append(conv_norm_relu(state, f"{head}bottleneck", torch.cat(pooled, dim=1)))
    for i in (3, 2, 1):
        laterals[i - 1] = laterals[i - 1] + enlarge(laterals[i], laterals[i - 1])
    outs = [conv_norm_relu(state, f"{head}fpn_convs.{i}", laterals[i]) for i in range(3)]
    outs = [enlarge(out, outs[0]) for out in (*outs, laterals[3])]
    fused = conv_norm_relu(state, f"{head}fpn_bottleneck", torch.cat(outs, dim=1))
    logits = functional.conv2d(
        fused, state[f"{head}conv_seg.weight"], state[f"{head}conv_seg.bias"]
    )
    return enlarge(logits, size)


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (50, 77)])
def test_same_output_as_the_head_written_out(size):
    torch.manual_seed(0)
    backbone = mlla_tiny(features_only=True, **TINY).eval()
    state = published(backbone.model.state_dict())
    plan = SegmenterPlan(
        "mlla_tiny", "upernet", CLASSES, TINY, decoder_args={"decoder_channels": CHANNELS}
    )
    model = Segmenter(plan).eval()
    load_published_segmenter(model, state)
    image = torch.rand(1, 3, *size)
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1) / 255
        for values in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    maps = [
        functional.layer_norm(
            feature.permute(0, 2, 3, 1),
            feature.shape[1:2],
            state[f"backbone.norm{stage}.weight"],
            state[f"backbone.norm{stage}.bias"],
        ).permute(0, 3, 1, 2)
        for stage, feature in enumerate(backbone((image - mean) / std))
    ]
    torch.testing.assert_close(model(image), uper_head(state, maps, size), rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_listed_and_nothing_is_loaded():
    state = published(mlla_tiny(features_only=True, **TINY).model.state_dict())
    del state["decode_head.bottleneck.bn.bias"]
    state["decode_head.extra.weight"] = torch.ones(1)
    options = {"decoder_args": {"decoder_channels": CHANNELS}}
    model = Segmenter(SegmenterPlan("mlla_tiny", "upernet", CLASSES, TINY, **options))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing: network.decoder.psp.out_conv.1.bias") as error:
        load_published_segmenter(model, state)
    assert "unexpected: decode_head.extra.weight" in str(error.value)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_a_published_file_becomes_a_folder(tmp_path):
    widths, classes = (64, 128, 256, 512), 4
    backbone = mlla_tiny(features_only=True).model.state_dict()
    state = published(backbone, widths, channels=16, classes=classes)
    names = ("wall", "building", "sky", "floor")
    torch.save({"state_dict": state, "meta": {"CLASSES": names}}, tmp_path / "upernet.pth")
    plan = convert_published_segmenter(tmp_path / "upernet.pth", tmp_path / "folder")
    assert (plan.model, plan.num_classes) == ("mlla_tiny", classes)
    saved = load_segmenter(tmp_path / "folder")
    assert saved.labels.as_dict() == dict(enumerate(names, start=1))
    torch.save({"model": backbone}, tmp_path / "classifier.pth")
    with pytest.raises(ValueError, match=r"no weights under 'backbone.' and 'decode_head.'"):
        convert_published_segmenter(tmp_path / "classifier.pth", tmp_path / "other")


def test_parameters_as_published():
    # 128M in the authors' table
    with torch.device("meta"):
        model = Segmenter(SegmenterPlan("mlla_base", "upernet", 150))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert round(counted / 1e6) == 128
