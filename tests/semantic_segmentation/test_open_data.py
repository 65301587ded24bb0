"""Folders of images and masks in every layout that is promised, and every fault they can have."""

import numpy as np
import pytest
from PIL import Image
from shapes import write_shapes

from mlla.data import DataError
from mlla.semantic_segmentation import LabelMap, open_split

NAMES = ("ground", "red", "blue")


def grey(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path)


@pytest.fixture
def folder(tmp_path):
    return write_shapes(tmp_path / "data")


def test_images_and_masks_are_paired(folder):
    split = open_split(folder, "train", classes=NAMES)
    assert len(split) == 6
    assert all(image.name == mask.name for image, mask in split.pairs)
    image, classes = split.read(2)
    assert (image.shape, classes.shape) == ((42, 56, 3), (42, 56))
    assert set(np.unique(classes)) == {0, 1, 2}
    # red where the class says so
    assert image[classes == 1][:, 0].min() >= 200


@pytest.mark.parametrize("name", ["training", "train2017"])
def test_other_names_of_a_split_are_found(folder, name):
    for kind in ("images", "annotations"):
        (folder / kind / "train").rename(folder / kind / name)
    assert len(open_split(folder, "train", classes=NAMES)) == 6


def test_names_come_from_a_file(folder):
    (folder / "classes.txt").write_text("ground\nred\nblue\n")
    assert open_split(folder, "val").labels.names == NAMES


def test_a_class_that_the_data_name_may_be_ignored(folder):
    (folder / "classes.txt").write_text("ground\nred\nblue\n")
    labels = open_split(folder, "val", ignore=[0]).labels
    assert (labels.names, labels.ignored) == (("red", "blue"), frozenset({0, 255}))
    with pytest.raises(DataError, match=r"ignore=\[0\] are classes, too"):
        open_split(folder, "val", classes=NAMES, ignore=[0])


def test_zero_is_left_out_as_in_ade20k(tmp_path):
    folder = write_shapes(tmp_path, offset=0, masks="masks")
    split = open_split(folder, "val", classes=("red", "blue"), reduce_zero_label=True)
    _, classes = split.read(0)
    assert set(np.unique(classes)) == {0, 1, 255}
    plain = open_split(folder, "val", classes=NAMES).read(0)[1]
    assert np.array_equal(classes == 255, plain == 0)
    assert np.array_equal(classes[plain > 0], plain[plain > 0] - 1)


def test_cityscapes_is_understood(tmp_path):
    for city in ("aachen", "bonn"):
        scene = f"{city}/{city}_000_019"
        image = tmp_path / f"leftImg8bit/train/{scene}_leftImg8bit.png"
        grey(image, np.zeros((2, 3, 3), np.uint8))
        masks = tmp_path / f"gtFine/train/{scene}"
        # road, car, ego vehicle (not scored)
        grey(masks.with_name(f"{masks.name}_gtFine_labelIds.png"), np.uint8([[7, 26, 1]] * 2))
        grey(masks.with_name(f"{masks.name}_gtFine_color.png"), np.zeros((2, 3, 3), np.uint8))
    split = open_split(tmp_path, "train")
    assert len(split) == 2
    assert len(split.labels.names) == 19
    assert split.read(0)[1][0].tolist() == [0, 13, 255]
    for city in ("aachen", "bonn"):
        path = tmp_path / f"gtFine/train/{city}/{city}_000_019_gtFine_labelTrainIds.png"
        grey(path, np.uint8([[0, 13, 255]] * 2))
    split = open_split(tmp_path, "train")
    assert split.pairs[0][1].stem.endswith("labelTrainIds")
    assert split.read(0)[1][0].tolist() == [0, 13, 255]


def test_yaml_with_numbers_that_have_gaps(folder, tmp_path):
    mask = folder / "annotations/val/0.png"
    numbers = np.array([0, 187, 3], np.uint8)[np.asarray(Image.open(mask))]
    for path in (folder / "annotations/val").iterdir():
        path.unlink()
    grey(mask, numbers)
    file = tmp_path / "data.yaml"
    file.write_text(
        "path: data\nval: {images: images/val, masks: annotations/val}\n"
        "classes: {187: red, 3: blue}\nignore: [0]\n"
    )
    split = open_split(file, "val")
    assert (split.labels.names, len(split), split.num_unlabelled) == (("red", "blue"), 1, 2)
    classes = split.read(0)[1]
    assert np.array_equal(split.labels.numbers_of(classes[classes < 2]), numbers[numbers > 0])


@pytest.mark.parametrize("mode", ["P", "I;16", "1"])
def test_masks_of_every_kind_are_read_as_numbers(tmp_path, mode):
    numbers = np.array([[0, 1], [1, 0]])
    grey(tmp_path / "images/val/a.png", np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "masks/val").mkdir(parents=True)
    if mode == "P":
        mask = Image.fromarray(numbers.astype(np.uint8), "P")
        mask.putpalette([9, 9, 9, 200, 0, 0])
    elif mode == "1":
        mask = Image.fromarray(numbers.astype(bool))
    else:
        mask = Image.fromarray(numbers.astype(np.uint16))
    mask.save(tmp_path / "masks/val/a.png")
    assert open_split(tmp_path, "val", classes=2).read(0)[1].tolist() == numbers.tolist()


def test_faults_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="neither a folder nor a YAML file"):
        open_split(tmp_path / "nowhere", "val")
    with pytest.raises(DataError, match=r"no folder for the split 'test'; it has train, val"):
        open_split(folder, "test", classes=3)
    with pytest.raises(DataError, match="does not say which classes its masks have"):
        open_split(folder, "val")
    with pytest.raises(DataError, match=r"0.png: a mask holds the numbers \[2\].*ignore=2"):
        open_split(folder, "val", classes=2).read(0)
    with pytest.raises(DataError, match="has no folder of images"):
        open_split(tmp_path, "val", classes=3)
    mask = folder / "annotations/val/0.png"
    grey(mask, np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError, match=r"has 3x3 pixels, but .* has 56x40"):
        open_split(folder, "val", classes=3).read(0)
    grey(mask, np.zeros((40, 56, 3), np.uint8))
    with pytest.raises(DataError, match="is a RGB image; a mask must hold one number"):
        open_split(folder, "val", classes=3).read(0)
    mask.write_bytes(b"no image")
    with pytest.raises(DataError, match="cannot be read"):
        open_split(folder, "val", classes=3).read(0)
    for path in (folder / "annotations/val").iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    with pytest.raises(DataError, match=r"no image in .* has a mask of the same name"):
        open_split(folder, "val", classes=3)


def test_classes_must_make_sense():
    with pytest.raises(DataError, match="2 to 255 classes, not 1"):
        LabelMap({0: "all"})
    with pytest.raises(DataError, match=r"ignore=\[1\] are classes, too"):
        LabelMap({0: "a", 1: "b"}, ignored=[1])
    with pytest.raises(DataError, match="from 0 to 65535"):
        LabelMap({0: "a", 70000: "b"})
    assert LabelMap({0: "a", 255: "b"}).ignored == frozenset()
