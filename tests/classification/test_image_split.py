"""Images with class names on disk."""

import io
import os
import pickle
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from pictures import COLOURS, write_pictures
from PIL import Image

from mlla.classification import open_split


def test_folders_of_classes(tmp_path):
    split = open_split(write_pictures(tmp_path), "train")
    assert split.class_names == ["blue", "green", "red"]
    assert len(split) == 24
    assert split.names[0] == "train/blue/0.png"
    image, label = split[23]
    assert label == 2
    assert np.asarray(image).mean((0, 1)) == pytest.approx(COLOURS["red"], abs=25)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_usual_names_of_splits(tmp_path, name):
    write_pictures(tmp_path, splits=((name, 1),))
    assert len(open_split(tmp_path, "val")) == 3


def test_grey_and_transparent_images_become_colour_images(tmp_path):
    write_pictures(tmp_path, splits=(("train", 1),))
    Image.new("L", (5, 5)).save(tmp_path / "train" / "red" / "grey.png")
    Image.new("RGBA", (5, 5)).save(tmp_path / "train" / "red" / "transparent.png")
    split = open_split(tmp_path, "train")
    assert {split[index][0].mode for index in range(len(split))} == {"RGB"}


def test_classes_are_found_by_name_in_another_split(tmp_path):
    train = open_split(write_pictures(tmp_path / "one"), "train")
    few = {name: COLOURS[name] for name in ("green", "red")}
    val = open_split(write_pictures(tmp_path / "two", colours=few), "val")
    assert {val[index][1] for index in range(len(val))} == {0, 1}
    val.use_labels_of(train.class_names)
    assert {val[index][1] for index in range(len(val))} == {1, 2}
    with pytest.raises(ValueError, match="classes that the model does not know: blue; it knows gr"):
        train.use_labels_of(["green", "red"])


def test_a_split_can_be_sent_to_a_worker(tmp_path):
    split = open_split(write_pictures(tmp_path), "val")
    assert pickle.loads(pickle.dumps(split))[0][1] == 0


def test_a_damaged_image_is_named_and_not_passed_over(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "val" / "blue" / "1.png").write_bytes(b"not a picture")
    split = open_split(tmp_path, "val")
    with pytest.raises(OSError, match=r"val/blue/1.png .* cannot be read as an image"):
        [split[index] for index in range(len(split))]


def test_deeper_folders_are_not_taken_for_classes(tmp_path):
    write_pictures(tmp_path)
    deep = tmp_path / "train" / "red" / "night"
    deep.mkdir()
    Image.new("RGB", (5, 5)).save(deep / "1.png")
    with pytest.raises(ValueError, match=r"night/1.png does not lie in a folder of its class"):
        open_split(tmp_path, "train")


def test_what_cannot_be_opened(tmp_path):
    write_pictures(tmp_path, splits=(("train", 1), ("val", 1), ("validation", 1)))
    with pytest.raises(FileNotFoundError, match=r"no split 'test'.*it has train, val, validation"):
        open_split(tmp_path, "test")
    with pytest.raises(ValueError, match="has val and validation; which of them"):
        open_split(tmp_path, "val")
    with pytest.raises(FileNotFoundError, match="is not a folder here"):
        open_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="is a stream"):
        open_split("wds/imagenet", "train")
    with pytest.raises(ValueError, match="root=FOLDER must say where"):
        open_split("torch/cifar10", "train")
    with pytest.raises(FileNotFoundError, match=r"root=.*nowhere is not a folder"):
        open_split("torch/cifar10", "train", root=tmp_path / "nowhere")


def test_a_data_set_of_torchvision_on_disk(tmp_path):
    # the format of CIFAR-10, with ten images
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [f"class{index}" for index in range(10)]
    pixels = np.arange(10 * 3072, dtype=np.uint8).reshape(10, 3072)
    batch = {"data": pixels, "labels": list(range(10))}
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(batch))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    from torchvision.datasets import CIFAR10

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CIFAR10, "_check_integrity", lambda self: True)
        patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
        split = open_split("torch/cifar10", "val", root=tmp_path)
    assert (len(split), split.class_names) == (10, names)
    assert split.names[3] == "torch/cifar10/val/3"
    assert split[3][1] == 3


def test_a_missing_data_set_of_torchvision_is_not_downloaded(tmp_path):
    with pytest.raises(RuntimeError, match="not found or corrupted"):
        open_split("torch/cifar10", "val", root=tmp_path)


def hugging_face_package(rows, class_names):
    """Return what timm's reader uses of the package `datasets`, with these rows in it."""

    class Table(list):
        info = SimpleNamespace(features={"label": SimpleNamespace(names=class_names)}, splits={})

        def cast_column(self, name, kind):
            return self

    def load_dataset(name, split, cache_dir):
        assert os.environ["HF_DATASETS_OFFLINE"] == "1"
        if split != "validation":
            raise ValueError(f"Unknown split {split!r}")
        return Table(rows)

    package = ModuleType("datasets")
    package.load_dataset, package.Image = load_dataset, lambda decode: None
    return package


@pytest.mark.parametrize("class_names", [["cat", "dog"], None])
def test_a_data_set_of_hugging_face_on_disk(tmp_path, monkeypatch, class_names):
    picture = io.BytesIO()
    Image.new("RGB", (5, 4), (9, 8, 7)).save(picture, "PNG")
    rows = [
        {"image": {"bytes": picture.getvalue(), "path": None}, "label": label} for label in (1, 0)
    ]
    monkeypatch.setitem(sys.modules, "datasets", hugging_face_package(rows, class_names))
    # timm imports the package when it first needs it
    sys.modules.pop("timm.data.readers.reader_hfds", None)
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if class_names is None:
        with pytest.raises(ValueError, match="no column `label` of the kind ClassLabel"):
            open_split("hfds/pets", "validation", root=tmp_path)
        sys.modules.pop("timm.data.readers.reader_hfds")
        return
    split = open_split("hfds/pets", "validation", root=tmp_path)
    assert split.class_names == ["cat", "dog"]
    assert [split[index][1] for index in range(2)] == [1, 0]
    assert split[0][0].getpixel((4, 3)) == (9, 8, 7)
    sys.modules.pop("timm.data.readers.reader_hfds")
