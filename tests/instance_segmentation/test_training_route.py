"""Training, validation and the command, on drawn shapes."""

import csv
import json

import pytest
import timm
import torch
from drawn_set import SMALL, write_drawn_set

from mlla.cli import main
from mlla.instance_segmentation import load_detector, save_detector, train, validate
from mlla.instance_segmentation.mask_rcnn import mask_rcnn
from mlla.instance_segmentation.saved_detector import Description
from mlla.instance_segmentation.schedule import SCHEDULES, published_adamw, published_steps
from mlla.models.feature_backbone import create_feature_backbone, load_backbone_weights

SETTINGS = {"imgsz": 48, "batch": 2, "workers": 0, "device": "cpu", **SMALL}
LOSSES = {"classifier", "box_reg", "mask", "objectness", "rpn_box_reg"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("mask-rcnn")
    data = write_drawn_set(root / "data")
    figures = train(data, root / "run", epochs=2, **SETTINGS)
    return data, root / "run", figures


def test_a_training_leaves_detectors_losses_and_scores(trained):
    _, run, figures = trained
    with (run / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert {f"train/loss_{name}" for name in LOSSES} <= rows[0].keys()
    assert {"mask_AP", "box_AP", "mask_AP50", "box_APs"} <= figures.keys()
    detector, description = load_detector(run)
    assert description.classes == {3: "bar", 7: "disc"}
    assert not detector.training


def test_the_same_call_has_nothing_left_to_do(trained, capsys):
    data, run, figures = trained
    again = train(data, run, epochs=2, **SETTINGS)
    assert again["mask_AP"] == figures["mask_AP"]
    assert "2 of 2 epochs were done" in capsys.readouterr().out


def test_validation_repeats_the_score_of_training(trained, tmp_path):
    data, run, figures = trained
    found = validate(run, data, out=tmp_path / "scores", device="cpu", workers=0)
    for name, value in found.items():
        assert value == pytest.approx(figures[name], nan_ok=True), name
    entries = json.loads((tmp_path / "scores" / "detections.json").read_text())
    assert set(entries[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    assert {entry["category_id"] for entry in entries} <= {3, 7}


def test_the_command_scores_and_names_what_is_wrong(trained, capsys, tmp_path):
    data, run, _ = trained
    words = ["mask-rcnn", "val", f"model={run}", f"data={data}", "device=cpu", "workers=0"]
    assert main(words) == 0
    assert "mask_AP" in capsys.readouterr().out
    for words, message in (
        (["mask-rcnn", "vla"], "did you mean val"),
        (["mask-rcnn", "train", f"data={data}"], "missing out="),
        (["mask-rcnn", "train", f"data={data}", f"out={tmp_path}/o", "epoch=3"], "epochs"),
        (["mask-rcnn", "train", f"data={data}", f"out={tmp_path}/o", "schedule=2x"], "1x, 3x"),
        (["mask-rcnn", "train", f"data={data}", f"out={tmp_path}/o", "imgsz=big"], "imgsz='big'"),
        (["mask-rcnn", "train", f"data={data}", f"out={tmp_path}/o", "epochs=0"], "epochs=0"),
        (["mask-rcnn", "train", f"data={tmp_path}/no", f"out={tmp_path}/o"], "not a folder"),
        (["mask-rcnn", "val", f"model={data}", f"data={data}", "device=cpu"], "config.json"),
        (["mask-rcnn", "convert", "a", "b"], "--from"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err, words
    assert not (tmp_path / "o").exists()


def test_other_classes_are_refused(trained, tmp_path):
    _, run, _ = trained
    data = write_drawn_set(tmp_path / "other")
    file = data / "annotations" / "instances_val.json"
    file.write_text(file.read_text().replace("disc", "dot"))
    with pytest.raises(ValueError, match="dot"):
        validate(run, data, device="cpu", workers=0)


def test_schedules_are_the_published_ones():
    assert (SCHEDULES["1x"].epochs, SCHEDULES["1x"].milestones) == (12, (8, 11))
    assert (SCHEDULES["3x"].epochs, SCHEDULES["3x"].milestones) == (36, (27, 33))
    assert SCHEDULES["1x"].lasting(24).milestones == (16, 22)
    # 1000 updates an epoch: a rise over 500, then a tenth after 8 epochs and again after 11
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], lr=1e-4)
    schedule = published_steps(optimizer, SCHEDULES["1x"], 1000, 1e-4)
    for update, lr in ((0, 1e-7), (250, 5e-5), (500, 1e-4), (7999, 1e-4), (8000, 1e-5)):
        schedule.step_update(update)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(lr, rel=2e-3), update
    schedule.step_update(11_999)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-6)


def test_norms_alone_are_spared_from_decay():
    with torch.device("meta"):
        model = mask_rcnn("mlla_tiny", 2, **SMALL)
    decayed, spared = published_adamw(model, lr=1e-4, weight_decay=0.05).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.05, 0.0)
    names = {id(weight): name for name, weight in model.named_parameters()}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)
    assert all("norm" in names[id(weight)] for weight in spared["params"])
    assert not any("norm" in names[id(weight)] for weight in decayed["params"])


def test_a_damaged_detector_is_refused(tmp_path):
    description = Description(backbone="mlla_tiny", classes={1: "a"}, **SMALL)
    save_detector(description.build(), description, tmp_path / "folder")
    weights = tmp_path / "folder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="SHA-256"):
        load_detector(tmp_path / "folder")
    (tmp_path / "folder" / "config.json").write_text('{"architecture": "mlla_tiny"}')
    with pytest.raises(ValueError, match="not a Mask R-CNN"):
        load_detector(tmp_path / "folder")


@pytest.mark.parametrize("name", ["mlla_tiny", "resnet18"])
def test_a_backbone_takes_the_weights_of_a_classifier(name, tmp_path):
    options = SMALL["backbone_options"] if name == "mlla_tiny" else {}
    classifier = timm.create_model(name, num_classes=5, **options).eval()
    torch.save({"model": classifier.state_dict()}, tmp_path / "file.pth")
    backbone = create_feature_backbone(name, **options).eval()
    load_backbone_weights(backbone, tmp_path / "file.pth")
    image = torch.rand(1, 3, 64, 64)
    expected = classifier.forward_intermediates(image, 4, intermediates_only=True)
    for ours, theirs in zip(backbone(image), expected, strict=True):
        if name == "mlla_tiny":
            theirs = torch.nn.functional.layer_norm(theirs.permute(0, 2, 3, 1), theirs.shape[1:2])
            theirs = theirs.permute(0, 3, 1, 2)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_backbone_weights(backbone, tmp_path / "none.pth")


@pytest.mark.slow
def test_a_detector_learns_shapes_by_heart(tmp_path):
    data = write_drawn_set(tmp_path / "data", sizes=((96, 128), (128, 96)))
    detector_options = {
        "rpn_post_nms_top_n_train": 40,
        "rpn_post_nms_top_n_test": 30,
        "rpn_batch_size_per_image": 32,
        "box_batch_size_per_image": 16,
        "box_detections_per_img": 5,
    }
    figures = train(
        data,
        tmp_path / "run",
        epochs=75,
        lr=1e-3,
        evaluate_every=75,
        **{**SETTINGS, "imgsz": 96, "detector_options": detector_options},
    )
    assert figures["mask_AP50"] > 0.8
    assert figures["box_AP50"] > 0.8
