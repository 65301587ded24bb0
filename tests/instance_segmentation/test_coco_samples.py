"""From COCO files to what the detector trains on."""

import json
import random
import shutil

import numpy as np
import pytest
import torch
from drawn_set import draw, write_drawn_set
from pycocotools import mask as reference_masks

from mlla.data import DataError
from mlla.instance_segmentation.augmentation import augmented
from mlla.instance_segmentation.coco_split import read_split
from mlla.instance_segmentation.dataset import EvaluationSamples, TrainingSamples, load_instances
from mlla.instance_segmentation.instances import Instances, cropped, mirrored, resized
from mlla.instance_segmentation.run_lengths import decode_mask, encode_masks


@pytest.fixture
def drawn(tmp_path):
    return write_drawn_set(tmp_path / "set", with_empty=True)


def change(folder, split, edit):
    file = folder / "annotations" / f"instances_{split}.json"
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def test_objects_are_where_they_were_drawn(drawn):
    split = read_split(drawn, "train")
    # classes count from 1 in the order of their ids, 3 before 7
    assert split.classes == {3: "bar", 7: "disc"}
    sample = load_instances(split, 0)
    assert sample.labels.tolist() == [1, 2]
    red, blue = sample.image[0] > 150, sample.image[2] > 150
    assert torch.equal(sample.masks[0].bool(), red)
    assert torch.equal(sample.masks[1].bool(), blue)
    for mask, box in zip(sample.masks, sample.boxes, strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == [int(edge) for edge in edges]


def test_images_without_objects_are_scored_but_not_trained_on(drawn):
    split = read_split(drawn, "train")
    assert len(split.images) == 3
    to_learn = split.to_learn_from()
    assert (len(to_learn.images), to_learn.left_out) == (2, 1)
    assert EvaluationSamples(split)[2].shape == (3, 32, 32)


def test_crowds_and_boxes_below_a_pixel_are_not_learned(drawn):
    def edit(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][2]["bbox"][2] = 0.5

    change(drawn, "train", edit)
    split = read_split(drawn, "train")
    assert load_instances(split, 0).labels.tolist() == [2]
    assert load_instances(split, 1).labels.tolist() == [2]


def test_masks_are_those_of_the_reference(drawn):
    polygon = [[3.3, 2.1, 20.7, 4.9, 11.2, 17.5], [25.0, 5.0, 29.5, 5.0, 29.5, 11.0, 25.0, 11.0]]
    runs = reference_masks.merge(reference_masks.frPyObjects(polygon, 20, 32))
    expected = reference_masks.decode(runs)
    assert np.array_equal(decode_mask(polygon, 20, 32), expected)
    (packed,) = encode_masks(expected[None].astype(bool))
    assert packed["counts"] == runs["counts"].decode()
    assert np.array_equal(decode_mask(packed, 20, 32), expected)
    with pytest.raises(ValueError, match="size"):
        decode_mask(packed, 32, 20)


@pytest.mark.parametrize("transform", [mirrored, lambda s: resized(s, 96, 500)])
def test_boxes_masks_and_pixels_move_together(drawn, transform):
    sample = transform(load_instances(read_split(drawn, "train"), 0))
    for mask, channel in zip(sample.masks, (0, 2), strict=True):
        colour = sample.image[channel] > 150
        disagreeing = (colour != mask.bool()).sum() / mask.sum()
        assert disagreeing < 0.08
    for mask, box in zip(sample.masks, sample.boxes, strict=True):
        rows, columns = torch.nonzero(mask, as_tuple=True)
        edges = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (box - edges).abs().max() <= 1.5


def test_mirroring_twice_changes_nothing(drawn):
    sample = load_instances(read_split(drawn, "train"), 0)
    again = mirrored(mirrored(sample))
    assert torch.equal(again.image, sample.image)
    assert torch.equal(again.boxes, sample.boxes)
    assert torch.equal(again.masks, sample.masks)


def test_a_crop_cuts_boxes_and_drops_what_is_outside():
    masks = torch.zeros(2, 20, 30, dtype=torch.uint8)
    masks[0, 2:8, 3:12], masks[1, 15:19, 20:28] = 1, 1
    boxes = torch.tensor([[3.0, 2.0, 12.0, 8.0], [20.0, 15.0, 28.0, 19.0]])
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    sample = cropped(Instances(image, boxes, torch.tensor([1, 2]), masks), 4, 5, 10, 12)
    assert sample.size == (10, 12)
    assert sample.boxes.tolist() == [[0, 0, 7, 4]]
    assert sample.labels.tolist() == [1]
    assert sample.masks.sum() == 7 * 4


def test_augmentation_has_the_published_sizes(drawn):
    height, width = 480, 640
    pixels, _ = draw(height, width)
    sample = Instances(
        torch.from_numpy(pixels).permute(2, 0, 1),
        torch.tensor([[4.0, 6.0, 320.0, 472.0]]),
        torch.tensor([1]),
        torch.ones(1, height, width, dtype=torch.uint8),
    )
    sides = set()
    for seed in range(40):
        random.seed(seed)
        found = augmented(sample, 800)
        assert found.masks.shape[-2:] == found.image.shape[-2:]
        assert max(found.size) <= 1333
        if max(found.size) / min(found.size) == pytest.approx(4 / 3, abs=0.01):
            sides.add(min(found.size))
    assert len(sides) > 5
    assert sides <= set(range(480, 801, 32))


def test_augmentation_is_decided_by_the_generator(drawn):
    samples = TrainingSamples(read_split(drawn, "train").to_learn_from(), 64)
    found = []
    for seed in (1, 1, 2):
        random.seed(seed)
        found.append(samples[0][0])
    assert torch.equal(found[0], found[1])
    assert found[0].shape != found[2].shape or not torch.equal(found[0], found[2])


def test_every_target_is_one_that_torchvision_accepts(drawn):
    samples = TrainingSamples(read_split(drawn, "train").to_learn_from(), 64)
    for seed in range(30):
        random.seed(seed)
        image, target = samples[seed % 2]
        assert image.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        assert target["masks"].shape == (len(target["boxes"]), *image.shape[-2:])
        assert target["labels"].shape == (len(target["boxes"]),)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("categories"), "lists images, annotations, categories"),
        (lambda c: c["annotations"][1].pop("segmentation"), r"annotations\[1\] has segmentation"),
        (lambda c: c["annotations"][1].update(category_id=9), "category_id 9"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, float("nan"), 3]), "bbox"),
        (lambda c: c["annotations"][1].update(image_id=5), "image 5, not listed"),
        (lambda c: c["images"][0].update(file_name="other.png"), "nowhere"),
        (lambda c: c["images"][0].pop("width"), r"images\[0\]"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(drawn, edit, message):
    change(drawn, "val", edit)
    with pytest.raises(DataError, match=message):
        read_split(drawn, "val")


def test_an_image_of_another_size_is_refused(drawn):
    change(drawn, "val", lambda content: content["images"][0].update(width=65))
    with pytest.raises(DataError, match=r"64x48 pixels, but its annotations say 65x48"):
        EvaluationSamples(read_split(drawn, "val"))[0]


def test_usual_layouts_are_found(drawn, tmp_path):
    original = tmp_path / "original"
    exported = tmp_path / "exported"
    for split, folder in (("train", "train"), ("val", "valid")):
        (original / "annotations").mkdir(parents=True, exist_ok=True)
        annotations = drawn / "annotations" / f"instances_{split}.json"
        content = annotations.read_text()
        (original / "annotations" / f"instances_{split}2017.json").write_text(content)
        (original / "annotations" / f"captions_{split}2017.json").write_text("{}")
        shutil.copytree(drawn / "images" / split, original / f"{split}2017")
        shutil.copytree(drawn / "images" / split, exported / folder)
        (exported / folder / "_annotations.coco.json").write_text(content)
    for root, folders in ((original, "train2017 val2017"), (exported, "train valid")):
        for split, folder in zip(("train", "val"), folders.split(), strict=True):
            found = read_split(root, split)
            assert {image.path.parent for image in found.images} == {root / folder}


def test_a_missing_or_doubtful_split_is_named(drawn, tmp_path):
    with pytest.raises(DataError, match="'test'"):
        read_split(drawn, "test")
    with pytest.raises(DataError, match="split='training'"):
        read_split(drawn, "training")
    annotations = drawn / "annotations"
    (annotations / "instances_val_2.json").write_bytes(
        (annotations / "instances_val.json").read_bytes()
    )
    with pytest.raises(DataError, match="instances_val_2"):
        read_split(drawn, "val")
