"""The images of a study: lists, digests, a test split made from train, leaks between splits."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from mlla.data import DataError
from mlla.data.data_yaml import label_path
from mlla.study.planning.dataset import read_lists, read_study_data, refuse_changed_images

BOX = "{cls} 0.5 0.5 0.4 0.4\n"


def write_image(folder: Path, split: str, name: str, seed: int, cls: int = 0) -> Path:
    """Write a noise image, which nothing resembles but itself, with one object."""
    pixels = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    image = folder / "images" / split / f"{name}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(image)
    label = label_path(image)
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(BOX.format(cls=cls))
    return image


@pytest.fixture
def dataset(tmp_path):
    """Twenty training images of two classes, six of val, no test."""
    folder = tmp_path / "set"
    for number in range(20):
        write_image(folder, "train", f"t{number:02d}", number, cls=number % 2)
    for number in range(6):
        write_image(folder, "val", f"v{number}", 100 + number, cls=number % 2)
    content = {"train": "images/train", "val": "images/val", "names": ["a", "b"]}
    (folder / "data.yaml").write_text(yaml.safe_dump(content))
    return folder


def read(folder, **changes):
    return read_study_data(folder / "data.yaml", quiet=True, **changes)


def add_test_split(folder, *seeds):
    for seed in seeds:
        write_image(folder, "test", f"x{seed}", seed)
    path = folder / "data.yaml"
    path.write_text(path.read_text() + "test: images/test\n")


def test_without_a_test_split_val_is_scored(dataset):
    data = read(dataset)
    assert {split: len(images) for split, images in data.lists.items()} == {"train": 20, "val": 6}
    assert data.scored == "val"
    assert data.made_split is None
    add_test_split(dataset, 200, 201)
    assert read(dataset).scored == "test"


def test_lists_come_back_as_written_with_absolute_paths(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = read_study_data("set/data.yaml", quiet=True)
    (tmp_path / "out").mkdir()
    data.write(tmp_path / "out")
    monkeypatch.chdir("/")
    lists = read_lists(tmp_path / "out" / "data.yaml")
    assert lists == data.lists
    assert all(image.is_absolute() and image.is_file() for image in lists["train"])
    assert not list(dataset.rglob("*.cache")), "the user's dataset stays as it is"


def test_the_digest_is_over_images_and_labels_in_order_wherever_they_lie(dataset, tmp_path):
    data = read(dataset)
    expected = hashlib.sha256()
    for image in sorted((dataset / "images" / "val").iterdir()):
        parts = (image.read_bytes(), label_path(image).read_bytes())
        text = " ".join(hashlib.sha256(part).hexdigest() for part in parts)
        expected.update(f"{text}\n".encode())
    assert data.digests["val"] == expected.hexdigest()
    shutil.copytree(dataset, tmp_path / "copy")
    assert read(tmp_path / "copy").digests == data.digests


@pytest.mark.parametrize("change", ["pixel", "label", "missing", "list"])
def test_any_later_change_is_noticed(dataset, tmp_path, change):
    data = read(dataset)
    out = tmp_path / "out"
    out.mkdir()
    data.write(out)
    planned = data.to_dict(out)
    refuse_changed_images(planned)
    image = data.lists["train"][3]
    if change == "pixel":
        write_image(dataset, "train", image.stem, 999, cls=1)
    elif change == "label":
        label_path(image).write_text(BOX.format(cls=0) + BOX.format(cls=1))
    elif change == "missing":
        image.unlink()
    else:
        (out / "train.txt").write_text((out / "val.txt").read_text())
    with pytest.raises(DataError, match="restore them, or start another study"):
        refuse_changed_images(planned)


def test_a_made_test_split_is_a_share_of_train_with_the_classes_balanced(dataset):
    data = read(dataset, test=0.3)
    assert len(data.lists["test"]) == 6
    assert len(data.lists["train"]) == 14
    assert not set(data.lists["test"]) & set(data.lists["train"])
    names = [label_path(image).read_text()[0] for image in data.lists["test"]]
    assert names.count("0") == names.count("1") == 3
    assert data.made_split == {"from": "train", "share": 0.3, "groups": "near-duplicates"}
    assert data.scored == "test"
    assert read(dataset, test=0.3).lists == data.lists, "the same split every time"


def test_a_made_test_split_separates_no_near_duplicates(dataset):
    # each of ten training images once more, brighter, and one of val
    for number in range(10):
        pixels = np.asarray(Image.open(dataset / f"images/train/t{number:02d}.png")) // 2 + 60
        image = write_image(dataset, "train", f"u{number:02d}", 0, cls=number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(image)
    shutil.copyfile(dataset / "images/val/v0.png", dataset / "images/train/t19.png")
    data = read(dataset, test=0.4)
    assert data.leaks.near_duplicates == 0
    split = {image.stem: name for name, images in data.lists.items() for image in images}
    assert all(split[f"t{n:02d}"] == split[f"u{n:02d}"] for n in range(10))
    # what val shows, too, stays in train, where it does not score
    assert split["t19"] == "train"
    assert (data.leaks.identical, data.leaks.test_images_touched) == (1, 0)
    blind = read(dataset, test=0.4, near_duplicates=False)
    assert blind.leaks.near_duplicates is None
    assert blind.made_split["groups"] == "identical"


def test_leaks_between_given_splits_are_counted_and_named(dataset):
    add_test_split(dataset, 3, 100, 500)
    # seeds 3 and 100 are those of a training and of a val image
    leaks = read(dataset).leaks
    assert (leaks.identical, leaks.near_duplicates, leaks.test_images_touched) == (2, 0, 2)
    names = {frozenset(image.stem for image in pair) for pair in leaks.examples}
    assert names == {frozenset({"t03", "x3"}), frozenset({"v0", "x100"})}


def test_a_split_without_labels_is_refused(dataset):
    add_test_split(dataset, 500)
    (dataset / "labels/test/x500.txt").write_text("")
    with pytest.raises(DataError, match=r"'test' of .* has images but no labelled object"):
        read(dataset)


def test_images_that_a_training_would_drop_or_rewrite_are_refused(dataset):
    label_path(dataset / "images/train/t00.png").write_text("0 0.5 0.5 1.5 0.4\n")
    with pytest.raises(DataError, match="leave 1 images out"):
        read(dataset)
    label_path(dataset / "images/train/t00.png").write_text(BOX.format(cls=0))
    jpeg = dataset / "images/train/j.jpg"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(jpeg)
    jpeg.write_bytes(jpeg.read_bytes() + b"\0\0")
    with pytest.raises(DataError, match="rewrite them in the middle of the study"):
        read(dataset)


@pytest.mark.parametrize(("share", "message"), [(0, "share of the training"), (1.5, "share")])
def test_a_share_that_is_none_is_refused(dataset, share, message):
    with pytest.raises(DataError, match=message):
        read(dataset, test=share)


def test_a_second_test_split_is_refused(dataset):
    add_test_split(dataset, 500)
    with pytest.raises(DataError, match="has a test split already; leave out test="):
        read(dataset, test=0.2)


def test_a_single_scored_image_is_refused(dataset):
    add_test_split(dataset, 500)
    with pytest.raises(DataError, match=r"'test' of .* has a single image.*score on more"):
        read(dataset)
