"""From a dataset and a detector to a score, beside what Ultralytics itself says."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("hotcoco")
pytest.importorskip("ultralytics")
import torch

from mlla.data import DataError
from mlla.study.scoring.ground_truth import read_ground_truth
from mlla.study.scoring.predictions import predict
from mlla.study.scoring.score import score


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write images of two sizes, one upright by its EXIF mark, boxes and an outline."""
    for number, (width, height) in enumerate([(64, 48), (40, 80), (64, 64)]):
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        file = tmp_path / "images" / "test" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        exif = image.getexif()
        exif[274] = 6 if number == 1 else 1
        image.save(file, exif=exif)
    labels = tmp_path / "labels" / "test"
    labels.mkdir(parents=True)
    (labels / "0.txt").write_text("1 0.5 0.5 0.5 0.25\n\n0 0.25 0.5 0.5 1\n")
    (labels / "1.txt").write_text("0 0.25 0.1 0.75 0.1 0.5 0.6\n")
    (tmp_path / "data.yaml").write_text(
        f"path: {tmp_path}\ntrain: images/test\nval: images/test\ntest: images/test\n"
        "names: [pit, scratch]\n"
    )
    return tmp_path / "data.yaml"


def test_boxes_are_in_pixels_as_displayed(dataset: Path) -> None:
    truth = read_ground_truth(dataset)
    assert [entry["file_name"] for entry in truth.coco["images"]] == ["0.jpg", "1.jpg", "2.jpg"]
    # the second was stored lying on its side
    assert [(e["width"], e["height"]) for e in truth.coco["images"]] == [
        (64, 48),
        (80, 40),
        (64, 64),
    ]
    boxes = [(a["image_id"], a["category_id"], *a["bbox"]) for a in truth.coco["annotations"]]
    expected = [(0, 1, 16, 18, 32, 12), (0, 0, 0, 0, 32, 48), (1, 0, 20, 4, 40, 20)]
    np.testing.assert_allclose(boxes, expected)


def test_the_digest_follows_images_and_labels(dataset: Path) -> None:
    before = read_ground_truth(dataset).digest
    assert read_ground_truth(dataset).digest == before
    label = dataset.parent / "labels" / "test" / "2.txt"
    label.write_text("0 0.5 0.5 0.1 0.1\n")
    assert read_ground_truth(dataset).digest != before


def test_a_missing_split_is_named(dataset: Path) -> None:
    dataset.write_text(dataset.read_text().replace("test: images/test\n", ""))
    with pytest.raises(DataError, match="no split 'test', only train, val"):
        read_ground_truth(dataset)


def test_a_split_without_objects_is_refused(dataset: Path) -> None:
    for file in (dataset.parent / "labels" / "test").iterdir():
        file.write_text("")
    with pytest.raises(DataError, match="images but no labelled object"):
        read_ground_truth(dataset)


def test_a_detector_is_scored_as_by_ultralytics(dataset: Path, tmp_path: Path) -> None:
    from mlla.yolo import YOLO

    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml")
    truth = read_ground_truth(dataset)
    found = predict(model, truth.images, imgsz=64)
    assert {entry["image_id"] for entry in found} <= {0, 1, 2}
    # an untrained detector finds nothing: what counts is that its boxes lie in the images
    for entry in found:
        size = truth.coco["images"][entry["image_id"]]
        x, y, width, height = entry["bbox"]
        assert -1e-3 <= x <= x + width <= size["width"] + 1e-3
        assert -1e-3 <= y <= y + height <= size["height"] + 1e-3
    found = [entry for entry in found if entry["category_id"] < 2]
    assert 0 <= score(truth.coco, found).summary["AP"] <= 1


def test_batches_do_not_change_what_is_found(dataset: Path) -> None:
    from mlla.yolo import YOLO

    torch.manual_seed(0)
    model = YOLO("yolov8n.yaml")
    images = read_ground_truth(dataset).images
    # an untrained head says the same everywhere: let it say something
    head = model.model.model[-1]
    with torch.no_grad():
        for branch in head.cv3:
            branch[-1].weight.normal_()
            branch[-1].bias.zero_()
    together, single = (predict(model, images, imgsz=64, batch=b) for b in (3, 1))
    assert len(together) == len(single) > 0
    for one, other in zip(together, single, strict=True):
        assert one["image_id"] == other["image_id"]
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=1e-3)
