"""The converters on data sets as their users download them; skipped where they are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mlla.data import Kind, check_dataset, convert


def test_bccd(real_set, tmp_path):
    report = convert(real_set("BCCD_Dataset"), tmp_path / "out", from_format="voc", quiet=True)
    # 205, 87 and 72 are the lengths of its own lists, 4888 its boxes, two of them without area
    assert {name: counts.images for name, counts in report.splits.items()} == {
        "train": 205,
        "val": 87,
        "test": 72,
    }
    assert report.names == ("Platelets", "RBC", "WBC")
    assert sum(counts.boxes.total() for counts in report.splits.values()) == 4888 - 2
    assert [(p.kind, p.file.rsplit("/", 1)[1]) for p in report.problems] == [
        (Kind.ZERO_AREA, "BloodImage_00338.xml"),
        (Kind.ZERO_AREA, "BloodImage_00343.xml"),
    ]
    assert check_dataset(report.data_yaml, quiet=True).problems == ()


def test_neu_det(real_set, tmp_path):
    report = convert(real_set("NEU-DET"), tmp_path / "out", from_format="voc", quiet=True)
    assert {name: counts.images for name, counts in report.splits.items()} == {
        "train": 1440,
        "val": 360,
    }
    assert len(report.names) == 6
    assert sum(counts.boxes.total() for counts in report.splits.values()) == 4189 - 3
    assert report.count(Kind.DUPLICATE_BOX) == 3
    (twin,) = (p for p in report.problems if p.kind is Kind.DUPLICATE_IMAGE)
    assert twin.file == "IMAGES/patches_105.jpg"
    assert "the same bytes as IMAGES/patches_101.jpg" in twin.detail
    splits_of_twins = {
        path.parent.name
        for stem in ("patches_101", "patches_105")
        for path in (tmp_path / "out").glob(f"images/*/{stem}.jpg")
    }
    assert len(splits_of_twins) == 1


def test_coco128(real_set, tmp_path):
    root = real_set("coco128")
    report = convert(
        root / "object_detection",
        tmp_path / "out",
        from_format="yolo",
        images=root / "images",
        quiet=True,
    )
    assert {name: counts.images for name, counts in report.splits.items()} == {
        "train": 128,
        "val": 64,
    }
    assert len(report.names) == 80
    assert report.count(Kind.IMAGE_WITHOUT_ANNOTATION) == 2
    assert check_dataset(report.data_yaml, quiet=True).problems == ()
    # apart from their format the numbers of a healthy label file do not change
    label = "labels/train/000000000009.txt"
    before = (root / "object_detection/labels/train2017/000000000009.txt").read_text().splitlines()
    after = (tmp_path / "out" / label).read_text().splitlines()
    for old, new in zip(before, after, strict=True):
        assert [float(n) for n in new.split()] == pytest.approx(
            [float(n) for n in old.split()], abs=1e-6
        )


_LOAD = """
import sys
from ultralytics.data import YOLODataset
from ultralytics.data.utils import check_det_dataset
data = check_det_dataset(sys.argv[1])
for split in ("train", "val"):
    dataset = YOLODataset(img_path=data[split], data=data, imgsz=64, augment=False, task="detect")
    print(split, len(dataset), sum(len(label["cls"]) for label in dataset.labels))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BCCD_Dataset", "NEU-DET"])
def test_ultralytics_loads_all_of_it_from_any_folder(real_set, tmp_path, name):
    pytest.importorskip("ultralytics")
    report = convert(real_set(name), tmp_path / "out", from_format="voc", quiet=True)
    private = {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
        "YOLO_CONFIG_DIR": str(tmp_path),
        "YOLO_VERBOSE": "true",
    }
    result = subprocess.run(
        [sys.executable, "-c", _LOAD, str(report.data_yaml)],
        cwd="/",
        env={**os.environ, **private},
        capture_output=True,
        text=True,
        check=True,
    )
    for split in ("train", "val"):
        counts = report.splits[split]
        assert f"{split} {counts.images} {counts.boxes.total()}" in result.stdout
    assert "corrupt" not in result.stdout.replace(" 0 corrupt", "") + result.stderr.replace(
        " 0 corrupt", ""
    )
