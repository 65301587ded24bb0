"""The example in C++ is compiled, and finds what Ultralytics finds."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mlla.export import export
from mlla.yolo import YOLO

pytest.importorskip("onnxruntime")
SOURCE = Path(__file__).parents[2] / "examples" / "cpp" / "detect.cpp"
HOME, COMPILER = os.environ.get("ONNXRUNTIME_DIR"), shutil.which("c++") or shutil.which("g++")
LEAST_SCORE = 0.3
# as large as the network's view but for its height: padded, and every pixel stays as it is
HEIGHT, WIDTH = 48, 64

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not HOME, reason="ONNXRUNTIME_DIR does not name ONNX Runtime's folder"),
    pytest.mark.skipif(not COMPILER, reason="there is no C++ compiler"),
]


@pytest.fixture
def program(folder: Path) -> Path:
    target = folder / "detect"
    command = [
        COMPILER, "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", str(SOURCE),
        "-isystem", f"{HOME}/include", f"-L{HOME}/lib", "-lonnxruntime",
        f"-Wl,-rpath,{Path(str(HOME)).resolve()}/lib", "-o", str(target),
    ]  # fmt: skip
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return target


@pytest.fixture
def model() -> Path:
    """A detector with fresh weights whose scores are far apart."""
    torch.manual_seed(0)
    detector = YOLO("yolov8n-mlla")
    with torch.no_grad():
        # fresh norms leave next to nothing for the head
        for module in detector.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        detector.model.train()
        detector.model(torch.rand(8, 3, 64, 64))
        detector.model.eval()
        for branch in detector.model.model[-1].cv3:
            branch[-1].bias.fill_(-2)
    return export(detector, imgsz=64).file


@pytest.fixture
def picture(folder: Path) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "picture.ppm")
    return pixels


def test_it_finds_the_boxes_of_ultralytics(program: Path, model: Path, picture: np.ndarray) -> None:
    ran = subprocess.run(
        [program, model, "picture.ppm", str(LEAST_SCORE)],
        capture_output=True,
        text=True,
        check=True,
    )
    found = np.array([line.split() for line in ran.stdout.splitlines()], dtype=float)
    # Ultralytics takes blue first
    result = YOLO(model, task="detect").predict(
        picture[..., ::-1].copy(), imgsz=64, conf=LEAST_SCORE, iou=0.7, max_det=1000, verbose=False
    )[0]
    boxes = result.boxes
    expected = np.column_stack([boxes.cls, boxes.conf, boxes.xyxy])
    assert len(expected) > 3
    assert len(found) == len(expected)
    # edges outside the image are cut off there
    found[:, 2::2] = found[:, 2::2].clip(0, WIDTH)
    found[:, 3::2] = found[:, 3::2].clip(0, HEIGHT)
    for row in expected:
        nearest = np.abs(found - row).max(1).min()
        assert nearest < 0.1, row


def test_it_says_what_is_wrong(program: Path, folder: Path) -> None:
    (folder / "text.ppm").write_text("P3 1 1 255 0 0 0")
    for words, code, message in (
        ([], 2, "usage"),
        (["model.onnx", "gone.ppm"], 1, "gone.ppm cannot be opened"),
        (["model.onnx", "text.ppm"], 1, "no binary PPM"),
    ):
        ran = subprocess.run([program, *words], capture_output=True, text=True, check=False)
        assert ran.returncode == code
        assert message in ran.stderr
