from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REAL_SETS = Path(__file__).resolve().parents[3] / "shared" / "data"


class Maker:
    """Makes specimens of data sets under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, name: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def image(self, name: str, width: int = 100, height: int = 50, seed: int = 0, **save) -> Path:
        pixels = np.random.default_rng([seed, *name.encode()]).integers(
            0, 255, (height, width, 3), dtype=np.uint8
        )
        Image.fromarray(pixels).save(self.path(name), **save)
        return self.root / name

    def text(self, name: str, content: str) -> Path:
        self.path(name).write_text(content, encoding="utf-8")
        return self.root / name

    def voc(self, name: str, objects=(), size=(100, 50), filename: str = "") -> Path:
        """Write a VOC annotation; an object is (class, xmin, ymin, xmax, ymax)."""
        body = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin>"
            f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
            for label, x1, y1, x2, y2 in objects
        )
        stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
        text = f"<annotation><filename>{filename}</filename>{stated}{body}</annotation>"
        return self.text(name, text)

    def coco(self, name: str, images, annotations, categories) -> Path:
        """Write a COCO file; images are (id, file, width, height), categories (id, name)."""
        content = {
            "images": [{"id": i, "file_name": f, "width": w, "height": h} for i, f, w, h in images],
            "annotations": annotations,
            "categories": [{"id": i, "name": n} for i, n in categories],
        }
        return self.text(name, json.dumps(content))


@pytest.fixture
def source(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "source")


@pytest.fixture
def voc_pair(source: Maker) -> Maker:
    """Two healthy VOC images with one box each, enough for a random split."""
    for stem in ("a", "b"):
        source.image(f"JPEGImages/{stem}.png")
        source.voc(f"Annotations/{stem}.xml", [("dog", 11, 6, 60, 30)])
    return source


@pytest.fixture(scope="session")
def real_set(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpack one of the real data sets, or skip where they are not at hand."""
    unpacked: dict[str, Path] = {}

    def unpack(name: str) -> Path:
        archive = REAL_SETS / f"{name}.tar.xz"
        if not archive.is_file():
            pytest.skip(f"the real data set {name} is not beside the repository")
        if name not in unpacked:
            folder = tmp_path_factory.mktemp(name)
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
            unpacked[name] = folder / name
        return unpacked[name]

    return unpack


@pytest.fixture
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """Digest of every file under a folder, by relative name."""

    def digests(root: Path) -> dict[str, str]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }

    return digests
