"""What a user gets wrong: the message names the thing and the remedy, and nothing is written."""

import re
import shutil
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mlla.yolo import YOLO

Call = Callable[..., object]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test on any attempt to reach another machine."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture(scope="module")
def model() -> YOLO:
    return YOLO("yolov8n-c2f-mlla")


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "val", "predict", "export"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch=0 must be a positive number of images"),
        ({"batch": -2}, "batch=-2 must be a positive number of images"),
        ({"batch": 1.5}, "batch=1.5 must be a positive number of images"),
        ({"batch": True}, "batch=True must be a positive number of images"),
        ({"batch": None}, "batch=None must be a positive number of images"),
        ({"imgsz": 0}, "imgsz=0 must be positive, in pixels, such as 640"),
        ({"imgsz": -64}, "imgsz=-64 must be positive"),
        ({"imgsz": [64, 0]}, "imgsz=[64, 0] must be positive"),
        ({"imgsz": []}, "imgsz=[] must be positive"),
        ({"imgsz": "64"}, "imgsz='64' must be positive"),
        ({"epochs": 0}, "epochs=0 must be at least 1"),
        ({"epochs": -3}, "epochs=-3 must be at least 1"),
        ({"epochs": "3"}, "epochs='3' must be at least 1"),
    ],
)
def test_arguments_without_sense_are_named(
    model: YOLO, mode: str, arguments: dict[str, object], message: str, private_folder: Path
) -> None:
    source = {"source": "no.png"} if mode == "predict" else {}
    with pytest.raises(ValueError, match=re.escape(message)):
        getattr(model, mode)(**source, **arguments)
    assert contents(private_folder) == set()


@pytest.mark.parametrize(
    "arguments",
    [{"batch": -1}, {"batch": 0.7}, {"imgsz": [64, 96]}, {"epochs": None, "time": 0.1}],
)
def test_arguments_with_sense_pass(model: YOLO, arguments: dict[str, object]) -> None:
    # and the next mistake is the one reported
    with pytest.raises(ValueError, match="does not exist"):
        model.train(data="nowhere.yaml", **arguments)


def test_tracking_checks_its_arguments_too(model: YOLO) -> None:
    with pytest.raises(ValueError, match="imgsz=0 must be positive"):
        model.track("no.png", imgsz=0)


# -- data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["train", "val"])
def test_a_missing_data_yaml_is_named(model: YOLO, mode: str, private_folder: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.yaml does not exist; give the data\.yaml of"):
        getattr(model, mode)(data="nowhere.yaml")
    assert contents(private_folder) == set()


@pytest.mark.parametrize("mode", ["train", "val"])
@pytest.mark.parametrize(
    ("name", "data", "shown"),
    [
        ("yolov8n-c2f-mlla-cls", "nowhere", "nowhere"),
        # what Ultralytics takes, and downloads, when no data are given
        ("yolov8n-c2f-mlla-cls", None, "imagenet10"),
        ("yolov8n-c2f-mlla", None, "coco8.yaml"),
        ("yolov8n-c2f-mlla", "coco128.yaml", "coco128.yaml"),
        ("yolov8n-mlla-seg", "coco8-seg.yaml", "coco8-seg.yaml"),
    ],
)
def test_no_data_set_is_downloaded_unasked(
    mode: str, name: str, data: str | None, shown: str, private_folder: Path
) -> None:
    given = {} if data is None else {"data": data}
    with pytest.raises(FileNotFoundError, match=f"data='{shown}' does not exist") as error:
        getattr(YOLO(name), mode)(**given)
    assert "YOLO_OFFLINE=false" in str(error.value)
    assert contents(private_folder) == set()


def test_an_image_that_would_be_left_out_stops_the_training(
    model: YOLO, private_folder: Path, dataset: Callable[[str], Path]
) -> None:
    shutil.copytree(dataset("detect").parent, private_folder / "set")
    yaml = private_folder / "set" / "data.yaml"
    yaml.write_text(yaml.read_text().replace(str(dataset("detect").parent), str(yaml.parent)))
    (private_folder / "set" / "images" / "train" / "2.png").write_bytes(b"")
    with pytest.raises(ValueError, match="would leave out images without saying so") as error:
        model.train(data=str(yaml), epochs=1)
    assert "2.png" in str(error.value)


def test_a_missing_image_is_named(model: YOLO) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png does not exist"):
        model.predict("nowhere.png", imgsz=64, verbose=False)


# -- checkpoints -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["missing.pt", "yolov8n.pt", "folder/best.pt", "best", ""])
def test_a_missing_checkpoint_names_the_remedy(name: str, private_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(f"model={name!r} does not exist")) as e:
        YOLO(name)
    message = str(e.value)
    assert str(private_folder) in message
    untrained = "write yolov8n.yaml to begin untrained, " if name == "yolov8n.pt" else ""
    assert f"Put the file there, {untrained}name a packaged model" in message
    assert "YOLO_OFFLINE=false" in message


def test_a_folder_is_no_checkpoint(private_folder: Path) -> None:
    (private_folder / "best.pt").mkdir()
    with pytest.raises(FileNotFoundError, match=r"model='best\.pt' does not exist"):
        YOLO("best.pt")


def cut_short(path: Path) -> None:
    YOLO("yolov8n-c2f-mlla").save(path)
    path.write_bytes(path.read_bytes()[:50_000])


AUTHORS_WEIGHT = {"layers.0.blocks.0.cpe1.weight": torch.zeros(3)}
WRONG_FILES = {
    "empty": (lambda path: path.write_bytes(b""), "damaged or not a checkpoint"),
    "random bytes": (
        lambda path: path.write_bytes(bytes(range(256)) * 20),
        "damaged or not a checkpoint",
    ),
    "text": (lambda path: path.write_text("hello"), "damaged or not a checkpoint"),
    "an image": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n"), "damaged or not a check"),
    "cut short": (cut_short, "damaged or not a checkpoint"),
    "a script": (
        lambda path: torch.jit.script(nn.Linear(2, 2)).save(str(path)),
        "damaged or not a checkpoint",
    ),
    "a state dict": (
        lambda path: torch.save({"weight": torch.zeros(3)}, path),
        "not a checkpoint of Ultralytics",
    ),
    "nothing": (
        lambda path: torch.save({"model": None, "ema": None}, path),
        "not a checkpoint of Ultralytics",
    ),
    "a list": (lambda path: torch.save([1, 2], path), "not a checkpoint of Ultralytics"),
    "the authors' weights": (
        lambda path: torch.save({"model": AUTHORS_WEIGHT}, path),
        "a state dict of a backbone; load it with mlla.load_published",
    ),
    "the authors' bare weights": (
        lambda path: torch.save(AUTHORS_WEIGHT, path),
        "a state dict of a backbone; load it with mlla.load_published",
    ),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
@pytest.mark.parametrize("how", ["open", "load", "pretrained"])
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_file_that_is_no_checkpoint_says_what_it_is_not(
    model: YOLO, private_folder: Path, dataset: Callable[[str], Path], kind: str, how: str
) -> None:
    file = private_folder / "wrong.pt"
    write, message = WRONG_FILES[kind]
    write(file)
    calls: dict[str, Call] = {
        "open": lambda: YOLO(file),
        "load": lambda: model.load(file),
        "pretrained": lambda: model.train(
            data=str(dataset("detect")), pretrained=str(file), epochs=1
        ),
    }
    with pytest.raises(ValueError, match=re.escape(f"model={str(file)!r} is {message}")):
        calls[how]()
    assert contents(private_folder) == {"wrong.pt"}


def test_missing_pretrained_weights_are_named(
    model: YOLO, dataset: Callable[[str], Path], private_folder: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"model='nowhere\.pt' does not exist"):
        model.train(data=str(dataset("detect")), pretrained="nowhere.pt", epochs=1)
    assert contents(private_folder) == set()


def test_the_network_is_offered_only_where_the_user_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # also where ultralytics was imported before mlla, which then sets nothing
    monkeypatch.delenv("YOLO_OFFLINE")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        YOLO("yolov8n.pt")
    monkeypatch.setenv("YOLO_OFFLINE", "false")
    with pytest.raises(Exception) as error:  # noqa: PT011 (whatever downloading raises)
        YOLO("yolov8n.pt")
    assert "Put the file there" not in str(error.value)


def test_a_finished_training_cannot_be_resumed(trained: Path) -> None:
    with pytest.raises(ValueError, match="is no interrupted training, so there is nothing to go"):
        YOLO(trained / "weights" / "last.pt").train(resume=True)


def test_a_model_from_a_yaml_cannot_be_resumed() -> None:
    with pytest.raises(ValueError, match="this model is no interrupted training"):
        YOLO("yolov8n-mlla").train(resume=True)
