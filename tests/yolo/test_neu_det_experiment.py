"""The one command from an archive to trained models, on a handful of generated images."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RUN = Path(__file__).parents[2] / "experiments" / "neu_det" / "run.py"
TINY = ("splits=grouped", "seeds=0", "epochs=1", "imgsz=64", "batch=4", "fraction=0.5")


@pytest.fixture
def archive(tmp_path) -> Path:
    random = np.random.default_rng(0)
    root = tmp_path / "TINY"
    (root / "IMAGES").mkdir(parents=True)
    (root / "ANNOTATIONS").mkdir()
    for number in range(16):
        noise = Image.fromarray(random.integers(0, 255, (40, 40), dtype=np.uint8))
        noise.resize((64, 64)).save(root / "IMAGES" / f"s_{number}.jpg")
        (root / "ANNOTATIONS" / f"s_{number}.xml").write_text(
            f"<annotation><object><name>{'ab'[number % 2]}</name><bndbox><xmin>5</xmin>"
            "<ymin>5</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
        )
    with tarfile.open(tmp_path / "TINY.tar.xz", "w:xz") as tar:
        tar.add(root, arcname="TINY")
    return tmp_path / "TINY.tar.xz"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(RUN), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.slow
def test_one_command_trains_both_models_and_goes_on_where_it_stopped(archive, tmp_path):
    words = ("archive=TINY.tar.xz", "work=out", *TINY)
    first = run(tmp_path, *words)
    assert first.returncode == 0, first.stdout + first.stderr
    results = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("out/results/*")}
    assert set(results) == {"grouped-yolo11n-seed0", "grouped-yolo11n-c3k2-mlla-seed0"}
    assert all(result["training_images"] == 6 for result in results.values())
    for name in results:
        pictures = tmp_path / "out" / "runs" / name / "pictures"
        # Ultralytics 8.3 draws no curves where nothing was found, as after so short a training
        assert {"precision_recall_curves.png", *(path.name for path in pictures.iterdir())} == {
            "label_statistics.jpg",
            "training_curves.png",
            "confusion_matrix.png",
            "confusion_matrix_normalized.png",
            "precision_recall_curves.png",
            "first_batch_with_augmentation.jpg",
            "truth_and_predictions.jpg",
        }
    assert "| test_mAP50 | grouped | yolo11n-c3k2-mlla |" in first.stdout
    assert (tmp_path / "out" / "summary.md").read_text() in first.stdout

    # a result that is there is kept, one that is missing is made anew
    kept = tmp_path / "out" / "results" / "grouped-yolo11n-seed0.json"
    before = kept.stat().st_mtime_ns
    (tmp_path / "out" / "results" / "grouped-yolo11n-c3k2-mlla-seed0.json").unlink()
    again = run(tmp_path, *words)
    assert again.returncode == 0
    assert again.stdout.count("training grouped") == 1
    assert kept.stat().st_mtime_ns == before

    other = run(tmp_path, *words, "mosaic=1.0")
    assert other.returncode == 1
    assert "give another work=" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "archive=PATH is needed"),
        (("archive=nowhere.zip",), "archive nowhere.zip does not exist"),
        (("archive=a", "epoch=3"), "unknown option 'epoch'; did you mean epochs?"),
        (("archive=a", "splits=official"), "splits has official; there are random, grouped"),
        (("archive=a", "fraction=0"), "fraction is 0; it must be above 0"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_written(tmp_path, words, message):
    result = run(tmp_path, *words)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "broken.tar.xz").write_bytes(b"not an archive")
    result = run(tmp_path, "archive=broken.tar.xz")
    assert result.returncode == 1
    assert "archive broken.tar.xz cannot be unpacked" in result.stderr
    assert not (tmp_path / "neu-det" / "source").exists()
