"""Private settings of Ultralytics, an empty folder, a small model and a small data set."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# before anything imports ultralytics: its settings file must not be the user's
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="mlla-yolo-settings-"))
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"

import numpy as np
import pytest
import torch
from PIL import Image

from mlla.models import MLLA


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let every test run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def classifier() -> MLLA:
    """A small classifier whose weights are not those of a fresh one."""
    torch.manual_seed(0)
    model = MLLA(8, (1, 1, 1, 1), (1, 2, 4, 8), num_classes=3)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                noise = torch.randn_like(tensor)
                # variances stay positive
                tensor.add_(0.3 * (noise.abs() if (tensor > 0).all() else noise))
    return model


@pytest.fixture(scope="session")
def detection_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write six images of bright boxes, with or without labels; return data.yaml."""

    def write(*, with_labels: bool = True) -> Path:
        root = tmp_path_factory.mktemp("detection")
        for number in range(6):
            part = "val" if number < 3 else "train"
            pixels = np.random.default_rng(number).integers(0, 90, (64, 64, 3), dtype=np.uint8)
            pixels[16:48, 16:48, number % 3] = 250
            (root / "images" / part).mkdir(parents=True, exist_ok=True)
            (root / "labels" / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "images" / part / f"{number}.png")
            line = f"{number % 2} 0.5 0.5 0.5 0.5\n" if with_labels or part == "train" else ""
            (root / "labels" / part / f"{number}.txt").write_text(line)
        yaml = root / "data.yaml"
        yaml.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [a, b]\n")
        return yaml

    return write


@pytest.fixture
def classified_set(tmp_path: Path) -> Path:
    """Write four images of each of three colours; return the folder."""
    root = tmp_path / "colours"
    for part in ("train", "val"):
        for label, name in enumerate("rgb"):
            (root / part / name).mkdir(parents=True)
            for number in range(4):
                seed = 10 * label + number
                pixels = np.random.default_rng(seed).integers(0, 80, (48, 40, 3), dtype=np.uint8)
                pixels[..., label] += 150
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root
