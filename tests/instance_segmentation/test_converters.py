"""Masks and polygons become COCO."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as reference_masks
from pycocotools.coco import COCO

from mlla.data import DataError
from mlla.instance_segmentation import convert_masks, convert_polygons
from mlla.instance_segmentation.coco_split import read_split
from mlla.instance_segmentation.dataset import load_instances


def write_mask_folders(root, num_images=5):
    """Write folders like those of the Data Science Bowl 2018; return the true masks by image."""
    truth = {}
    for number in range(num_images):
        folder = root / "stage1_train" / f"image{number}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        pixels = np.random.default_rng(number).integers(0, 255, (24, 30, 4), dtype=np.uint8)
        Image.fromarray(pixels, "RGBA").save(folder / "images" / f"image{number}.png")
        masks = np.zeros((2, 24, 30), bool)
        masks[0, 2 : 5 + number, 3:9], masks[1, 20:23, 10:12] = True, True
        for index, mask in enumerate(masks):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{index}.png")
        truth[f"image{number}.png"] = masks
    return truth


def test_masks_come_back_pixel_by_pixel(tmp_path):
    truth = write_mask_folders(tmp_path / "source")
    report = convert_masks(tmp_path / "source", tmp_path / "coco", split=0.6)
    assert report.images == {"train": 3, "val": 2}
    assert report.objects == {"train": 6, "val": 4}
    for name in ("train", "val"):
        split = read_split(tmp_path / "coco", name)
        assert split.classes == {1: "nucleus"}
        for index, image in enumerate(split.images):
            expected = truth.pop(image.path.name)
            assert np.array_equal(load_instances(split, index).masks.numpy().astype(bool), expected)
    assert not truth


def test_masks_satisfy_the_reference(tmp_path):
    write_mask_folders(tmp_path / "source")
    convert_masks(tmp_path / "source", tmp_path / "coco")
    coco = COCO(str(tmp_path / "coco" / "annotations" / "instances_train.json"))
    for entry in coco.anns.values():
        assert reference_masks.area(entry["segmentation"]) == entry["area"]
        assert reference_masks.toBbox(entry["segmentation"]).tolist() == entry["bbox"]


def test_unusable_masks_are_named(tmp_path):
    write_mask_folders(tmp_path / "source", 3)
    masks = tmp_path / "source" / "stage1_train" / "image1" / "masks"
    Image.fromarray(np.zeros((24, 30), np.uint8)).save(masks / "empty.png")
    Image.fromarray(np.ones((8, 8), np.uint8)).save(masks / "small.png")
    report = convert_masks(tmp_path / "source", tmp_path / "coco")
    assert [problem.partition(":")[0] for problem in report.problems] == [
        "image1/masks/empty.png",
        "image1/masks/small.png",
    ]
    assert sum(report.objects.values()) == 6
    assert "no pixel" in (tmp_path / "coco" / "problems.txt").read_text()


def write_polygons(root, names="names: {1: bird, 44: cup}\n"):
    for split, stem in (("train", "a"), ("train", "b"), ("val", "c")):
        (root / "images" / split).mkdir(parents=True, exist_ok=True)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(root / "images" / split / f"{stem}.jpg")
    (root / "labels/train/a.txt").write_text(
        "44 0.1 0.2 0.5 0.2 0.5 0.8 0.1 0.8\n1 0.5 0.5 0.2 0.2\n2 0.1 0.2 0.5 0.2 0.5 0.8\n"
    )
    (root / "labels/val/c.txt").write_text("1 0.25 0.5 0.75 0.5 0.75 1.0 0.25 1.0\n")
    (root / "config.yaml").write_text(names)


def test_polygons_keep_their_ids_and_splits(tmp_path):
    write_polygons(tmp_path / "source")
    report = convert_polygons(tmp_path / "source", tmp_path / "coco")
    assert report.images == {"train": 1, "val": 1}
    content = json.loads((tmp_path / "coco/annotations/instances_train.json").read_text())
    (entry,) = content["annotations"]
    assert entry["category_id"] == 44
    assert entry["bbox"] == [4, 4, 16, 12]
    assert entry["area"] == 16 * 12
    assert entry["segmentation"] == [[4, 4, 20, 4, 20, 16, 4, 16]]
    # a box, a class without a name, and an image without a label file
    assert [text.partition(":")[0] for text in report.problems] == [
        "labels/train/a.txt, line 2",
        "labels/train/a.txt, line 3",
        "images/train/b.jpg",
    ]


def test_wrong_sources_are_named(tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match="images/ and masks/"):
        convert_masks(tmp_path / "nothing", tmp_path / "coco")
    with pytest.raises(DataError, match="no YAML file"):
        convert_polygons(tmp_path / "nothing", tmp_path / "coco")
    write_polygons(tmp_path / "source")
    with pytest.raises(DataError, match="split=2"):
        convert_polygons(tmp_path / "source", tmp_path / "coco", split=2)
    assert not (tmp_path / "coco").exists()
