"""Datasets that Ultralytics would quietly take less of are refused, by name."""

import re
import shutil

import pytest

from mlla.data import DataError, write_demo
from mlla.yolo import YOLO


@pytest.fixture(scope="module")
def model():
    return YOLO("yolov8n-mlla")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return write_demo(tmp_path_factory.mktemp("demo") / "data", num_images=14, quiet=True).parent


@pytest.fixture
def folder(healthy, tmp_path):
    return shutil.copytree(healthy, tmp_path / "data")


def an_image(folder):
    return min((folder / "images" / "train").iterdir())


def empty_file(folder):
    an_image(folder).write_bytes(b"")


def cut_short(folder):
    an_image(folder).write_bytes(an_image(folder).read_bytes()[:500])


def bad_label_line(folder):
    label = folder / "labels" / "train" / f"{an_image(folder).stem}.txt"
    label.write_text("0 0.5 0.5 0.2 0.2\n0 0.5 oops 0.1 0.1\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty_file, "0 bytes"),
        (cut_short, "cannot be decoded"),
        (bad_label_line, "line 2"),
    ],
)
@pytest.mark.parametrize("mode", ["train", "val"])
def test_a_dropped_image_is_named_instead(mode, spoil, message, model, folder):
    spoil(folder)
    with pytest.raises(ValueError, match="leave out images without saying so") as error:
        getattr(model, mode)(data=folder / "data.yaml", epochs=1, imgsz=32)
    assert message in str(error.value)
    assert an_image(folder).stem in str(error.value)
    assert "mlla data convert" in str(error.value)


def fewer_names(folder):
    path = folder / "data.yaml"
    path.write_text(re.sub(r"  5: .*", "", path.read_text()))


def no_train_images(folder):
    shutil.rmtree(folder / "images" / "train")


def emptied(folder):
    for image in (folder / "images" / "train").iterdir():
        image.unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (fewer_names, "beyond the 5 names"),
        (no_train_images, "does not exist"),
        (emptied, "holds no image that can be used"),
    ],
)
def test_a_broken_dataset_is_refused(spoil, message, model, folder):
    spoil(folder)
    with pytest.raises(DataError, match=message):
        model.train(data=folder / "data.yaml", epochs=1, imgsz=32)


def test_a_missing_dataset_is_named(model):
    with pytest.raises(DataError, match=r"nowhere\.yaml does not exist"):
        model.train(data="nowhere.yaml", epochs=1)


def test_a_stock_dataset_name_is_left_to_ultralytics_where_it_may_download(model, monkeypatch):
    asked = {}
    monkeypatch.setattr("ultralytics.YOLO.train", lambda self, **kw: asked.update(kw))
    with pytest.raises(FileNotFoundError, match=r"data='coco8\.yaml' does not exist"):
        model.train(data="coco8.yaml", epochs=1)
    monkeypatch.setenv("YOLO_OFFLINE", "false")
    model.train(data="coco8.yaml", epochs=1)
    assert asked["data"] == "coco8.yaml"


def test_a_relative_dataset_reaches_ultralytics_absolute(model, folder, monkeypatch):
    asked = {}
    monkeypatch.setattr("ultralytics.YOLO.train", lambda self, **kw: asked.update(kw))
    monkeypatch.chdir(folder)
    model.train(data="data.yaml", epochs=1)
    assert asked["data"] == str((folder / "data.yaml").resolve())
