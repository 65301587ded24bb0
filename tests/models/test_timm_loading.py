"""Weights through timm's own doors: checkpoint files, overlays, and no weights at all."""

import pytest
import timm
import torch
from test_published_weights import create, published_file, randomised, same


@pytest.fixture
def source():
    return randomised(create())


@pytest.fixture(params=["authors", "ours"])
def file(request, source, tmp_path):
    state = published_file(source) if request.param == "authors" else source.state_dict()
    torch.save({"model": state}, tmp_path / "weights.pth")
    return str(tmp_path / "weights.pth")


def test_checkpoint_path(source, file):
    assert same(source, create(checkpoint_path=file))


def from_file(file, **options):
    overlay = {"file": file, "num_classes": 6}
    return create(pretrained=True, pretrained_cfg_overlay=overlay, **options)


def test_pretrained_file(source, file):
    assert same(source, from_file(file))


def test_pretrained_file_for_another_number_of_classes(source, file):
    model = from_file(file, num_classes=9).eval()
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 9)
    assert same(source, model, without=("head.",))


def test_pretrained_file_for_another_number_of_channels(source, file):
    model = from_file(file, in_chans=1)
    expected = source.stem.reduce_to_half.conv.weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.stem.reduce_to_half.conv.weight, expected)


def test_pretrained_file_for_features(source, file):
    backbone = from_file(file, features_only=True)
    assert same(backbone.model, source)


def test_pretrained_file_for_a_detection_backbone(tmp_path):
    source = randomised(create(stage_norm=True, num_classes=0))
    torch.save(published_file(source), tmp_path / "weights.pth")
    backbone = from_file(str(tmp_path / "weights.pth"), features_only=True, stage_norm=True)
    assert same(source, backbone.model)


def test_pretrained_file_that_does_not_fit(file):
    with pytest.raises(ValueError, match=r"unexpected: stages.1.blocks.1"):
        from_file(file, depths=(1, 1))
    with pytest.raises(ValueError, match=r"missing: stage_norms.0.weight"):
        from_file(file, features_only=True, stage_norm=True)


@pytest.mark.parametrize("name", ["mlla_tiny", "mila_base"])
def test_nothing_is_downloaded_and_nothing_left_random(name, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("network"))
    with pytest.raises(RuntimeError, match=f"no weights are hosted for {name}.*load_published"):
        timm.create_model(name, pretrained=True)
    assert timm.list_models(["mlla*", "mila*"], pretrained=True) == []
