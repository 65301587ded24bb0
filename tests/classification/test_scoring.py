"""Scores of published files, of folders and of fresh models."""

import json
import zipfile

import numpy as np
import pytest
import timm
import torch
from pictures import COLOURS, write_pictures
from torch import nn

from mlla.classification import load_classifier, validate
from mlla.classification.image_split import TransformedImages, open_split
from mlla.classification.scores import score
from mlla.cli import main
from mlla.models import save_pretrained
from mlla.models.mlla_names import PUBLISHED_MODULES
from mlla.training import Launch


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), splits=(("val", 2),))


def published_file(path, network):
    """Write what the authors' code would have saved for the weights of one of our models."""
    names = {}
    for theirs, ours in PUBLISHED_MODULES.items():
        for stage in range(4):
            for block in range(8):
                numbers = {"stage": stage, "block": block}
                names[ours.format(**numbers, next_stage=stage + 1)] = theirs.format(**numbers)
    state = {}
    for name, tensor in network.state_dict().items():
        ours = max((n for n in names if name.startswith(n + ".")), key=len, default="")
        state[names.get(ours, ours) + name[len(ours) :]] = tensor
    assert "layers.0.blocks.0.attn.qk.weight" in state
    torch.save({"model": state, "epoch": 299}, path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    torch.manual_seed(1)
    network = timm.create_model("mlla_tiny", num_classes=3).eval()
    path = published_file(tmp_path_factory.mktemp("published") / "MLLA-T.pth", network)
    return path, network


def test_a_published_file_is_scored_by_one_command(published, data, tmp_path, capsys):
    path, network = published
    words = [f"model={path}", f"data={data}", f"out={tmp_path}", "image_size=32", "workers=0"]
    assert main(["classify", "val", *words, "device=cpu", "batch=4"]) == 0
    assert "images 6" in capsys.readouterr().out
    with np.load(tmp_path / "predictions.npz") as predictions:
        logits, targets = predictions["logits"], predictions["targets"]
    images = open_split(data, "val")
    transform = timm.data.create_transform((3, 32, 32), interpolation="bicubic", crop_pct=0.875)
    with torch.no_grad():
        expected = torch.cat([network(transform(image)[None]) for image, _ in images])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_a_published_file_can_be_trained_on_with_other_classes(published):
    classifier = load_classifier(published[0], num_classes=5)
    assert classifier.network.head.fc.out_features == 5
    kept = classifier.network.state_dict()["stages.1.blocks.0.mlp.expand.weight"]
    assert torch.equal(kept, published[1].stages[1].blocks[0].mlp.expand.weight)


def test_the_number_of_classes_must_be_that_of_the_data(published, tmp_path):
    few = {name: COLOURS[name] for name in ("green", "red")}
    data = write_pictures(tmp_path, splits=(("val", 1),), colours=few)
    with pytest.raises(ValueError, match=r"knows 3 classes and .* has 2"):
        validate(published[0], data, device="cpu", workers=0)


def test_a_file_that_is_no_classifier(tmp_path):
    torch.save({"model": {"weight": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="neither MLLA nor VM-UNet"):
        load_classifier(tmp_path / "other.pth")
    with zipfile.ZipFile(tmp_path / "broken.pth", "w"):
        pass
    with pytest.raises(ValueError, match="cannot be read as weights"):
        load_classifier(tmp_path / "broken.pth")


class Answers(nn.Module):
    """Says what it is told for each image in turn."""

    def __init__(self, logits):
        super().__init__()
        self.logits = iter(logits)

    def forward(self, x):
        return torch.stack([next(self.logits) for _ in x])


def scored(logits, data, **options):
    split = open_split(data, "val")
    images = TransformedImages(split, lambda image: torch.zeros(1))
    launch = Launch("fp32", "cpu")
    return score(Answers(logits), images, launch, None, batch=4, workers=0, **options)


def test_scores_are_counted(data):
    # targets are 0 0 1 1 2 2; class 0 always wins
    figures = scored(torch.tensor([2.0, 1.0, 0.0]).expand(6, 3), data)
    assert figures["top1"] == pytest.approx(100 / 3)
    assert figures["top5"] == 100
    each = -torch.tensor([2.0, 1.0, 0.0]).log_softmax(0)
    assert figures["val_loss"] == pytest.approx(each.mean().item())


def test_the_fifth_place_counts_and_the_sixth_does_not(tmp_path):
    colours = {f"{index}": (30 * index,) * 3 for index in range(7)}
    data = write_pictures(tmp_path, splits=(("val", 1),), colours=colours)
    figures = scored(torch.arange(7.0, 0, -1).expand(7, 7), data)
    assert figures["top5"] == pytest.approx(500 / 7)


def test_ties_go_to_the_first_class(data):
    assert scored(torch.zeros(6, 3), data)["top1"] == pytest.approx(100 / 3)


def test_classes_of_a_folder_are_found_by_name(tmp_path, data):
    torch.manual_seed(2)
    network = timm.create_model("mlla_tiny", dim=8, depths=(1, 1), num_heads=(1, 1), num_classes=4)
    # in another order than the folders, and one more
    save_pretrained(network, tmp_path / "model", label_names=["red", "lilac", "blue", "green"])
    few = {name: COLOURS[name] for name in ("green", "red")}
    pictures = write_pictures(tmp_path / "data", splits=(("val", 1),), colours=few)
    out = tmp_path / "out"
    validate(tmp_path / "model", pictures, out, image_size=16, device="cpu", workers=0)
    with np.load(out / "predictions.npz") as predictions:
        assert predictions["targets"].tolist() == [3, 0]
        assert predictions["class_names"].tolist() == ["red", "lilac", "blue", "green"]
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["label_names"][0] = "crimson"
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="classes that the model does not know: red"):
        validate(tmp_path / "model", pictures, device="cpu", workers=0)
