"""The `mlla` command as a user meets it: a process with words, output and an exit code."""

import json
import os
import re
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

import pytest

from mlla.cli import COMMANDS, main

MLLA = str(Path(sys.executable).with_name("mlla"))


def mlla(*words, cwd=None, timeout=300, **variables):
    settings = {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "true"}
    environment = {**os.environ, **settings, **variables}
    return subprocess.run(
        [MLLA, *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=timeout,
        env=environment,
    )


@pytest.fixture
def config(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("config")))


@pytest.mark.parametrize("words", [["--help"], ["models"], ["--version"]])
def test_help_and_models_need_no_heavy_import(words):
    code = (
        f"import sys; from mlla.cli import main; main({words!r});"
        "heavy = {'torch', 'timm', 'ultralytics', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_help_answers_within_two_seconds():
    mlla("--help")
    started = time.perf_counter()
    result = mlla("--help")
    assert time.perf_counter() - started < 2
    assert result.returncode == 0
    assert all(command in result.stdout for command in COMMANDS)


def test_models_lists_every_architecture_and_filters(capsys):
    assert main(["models"]) == 0
    overview = capsys.readouterr().out
    table = json.loads(files("mlla.cli").joinpath("models.json").read_text())["models"]
    first = {row["architecture"]: row for row in reversed(table)}
    lines = {line.split()[0]: line for line in overview.splitlines() if line.strip()}
    for row in first.values():
        assert f"{row['parameters']:,}" in lines[row["name"]]
    assert "nsmlx  detect, segment, pose, obb, classify" in lines["yolov8n-c2f-mlla"]
    assert f"{len(table)} models in all" in overview
    assert main(["models", "yolov8n", "seg"]) == 0
    some = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in some if line.startswith("yolo")] == [
        row["name"] for row in table if "yolov8n" in row["name"] and "seg" in row["name"]
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "model=x"], "'trian' is not a command; did you mean train"),
        (["models", "yolov9"], "no model's name contains 'yolov9'"),
        (["data", "covnert"], "'covnert' is not something data does; did you mean convert?"),
        (["data", "convert", "a", "b"], "convert needs SRC, DST and --from"),
        (
            ["data", "convert", "a", "b", "--form", "voc"],
            "unknown option 'form'; did you mean from",
        ),
        (["data", "demo", "x", "seed=abc"], "--seed must be a number, got 'abc'"),
        (["data", "check"], "check needs the data.yaml"),
        (["plug", "at=neck"], "mlla plug needs model=..."),
        (["plug", "model=x.pt", "att=neck"], "unknown option 'att'; did you mean at?"),
        (["plug", "model=x.pt", "out=a.onnx"], "out='a.onnx' must end in .pt"),
    ],
)
def test_a_wrong_word_is_answered_with_the_right_one(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_unknown_keys_of_ultralytics_are_answered_with_the_nearest(config):
    result = mlla("train", "model=yolov8n-mlla", "data=x.yaml", "epoch=3")
    assert result.returncode == 2
    assert "unknown option 'epoch'; did you mean epochs" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "model=yolov8n-mlla"], "mlla train needs data=..."),
        (["predict", "model=missing.pt", "source=x"], "model='missing.pt' does not exist"),
        (["val", "model=yolov8n-mlaa.yaml"], "did you mean yolov8n-mlla.yaml"),
        (["train", "model=yolov8n-mlla", "data=missing.yaml"], "missing.yaml"),
    ],
)
def test_missing_things_are_named_with_a_remedy(words, message, config, tmp_path):
    result = mlla(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir()), "nothing may be left behind"


def test_doctor_names_versions_and_fast_paths(config):
    result = mlla("doctor")
    assert result.returncode == 0, result.stderr
    forms = ("linear attention   loops", "selective scan     CPU kernel")
    for part in ("torch", "ultralytics", "devices", "fast paths", *forms):
        assert part in result.stdout


def test_the_whole_path_from_words_to_pictures(config, tmp_path):
    small = ["imgsz=64", "batch=4", "workers=0", "plots=False", "device=cpu"]
    places = [f"project={tmp_path}", "exist_ok=True"]
    assert mlla("data", "demo", tmp_path / "d", "--num-images", 14).returncode == 0
    data = f"data={tmp_path / 'd' / 'data.yaml'}"
    assert mlla("data", "check", tmp_path / "d" / "data.yaml").returncode == 0
    trained = mlla(
        "train", "model=yolov8n-mlla", data, "epochs=1", "name=t", "amp=False", *small, *places
    )
    assert trained.returncode == 0, trained.stderr
    best = tmp_path / "t" / "weights" / "best.pt"
    validated = mlla("val", f"model={best}", data, "--name", "v", *small, *places)
    assert validated.returncode == 0, validated.stderr
    images = sorted((tmp_path / "d" / "images" / "val").iterdir())
    predicted = mlla(
        "detect", "predict", f"model={best}", f"source={images[0].parent}", "imgsz=64", "name=p",
        *places,
    )  # fmt: skip
    assert predicted.returncode == 0, predicted.stderr
    assert len(list((tmp_path / "p").glob("*.jpg"))) == len(images)
    plugged = mlla("plug", f"model={best}", "at=p5", f"out={tmp_path / 'plugged.pt'}")
    assert plugged.returncode == 0, plugged.stderr
    assert re.search(r"kept (\d+) of \1 tensors", plugged.stdout + plugged.stderr)
    again = mlla("plug", f"model={best}", "at=p5", f"out={tmp_path / 'plugged.pt'}")
    assert again.returncode == 2
    assert "exists" in again.stderr
    exported = mlla("export", f"model={tmp_path / 'plugged.pt'}", "format=onnx", "imgsz=64")
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "plugged.onnx").stat().st_size > 1_000_000
