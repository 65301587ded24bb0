from __future__ import annotations

import json

import pytest

from mlla.data import DataError, Kind, convert

CATEGORIES = [(7, "zebra"), (3, "ape")]


def box(annotation_id, image_id, bbox, category_id=7, **more):
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": bbox,
        **more,
    }


def convert_coco(source, tmp_path, **options):
    return convert(source.root, tmp_path / "out", from_format="coco", quiet=True, **options)


def labels_of(folder):
    return {path.stem: path.read_text().splitlines() for path in folder.glob("labels/*/*.txt")}


@pytest.fixture
def coco_pair(source):
    """Two images, one JSON file; the annotations are to be written by the test."""
    for stem in ("a", "b"):
        source.image(f"images/{stem}.png")
    source.images = [(1, "a.png", 100, 50), (2, "b.png", 100, 50)]
    return source


def test_a_box_by_hand_and_ids_in_the_order_of_categories(coco_pair, tmp_path):
    boxes = [box(1, 1, [10, 5, 50, 25]), box(2, 2, [0, 0, 100, 50], category_id=3)]
    coco_pair.coco("annotations.json", coco_pair.images, boxes, CATEGORIES)
    report = convert_coco(coco_pair, tmp_path)
    assert report.names == ("ape", "zebra")
    assert labels_of(tmp_path / "out") == {
        "a": ["1 0.350000 0.350000 0.500000 0.500000"],
        "b": ["0 0.500000 0.500000 1.000000 1.000000"],
    }
    assert report.problems == ()


def test_annotations_are_dealt_with_one_by_one(coco_pair, tmp_path):
    boxes = [
        box(1, 1, [0, 0, 50, 25]),
        box(2, 1, [0, 0, 50, 0]),
        box(3, 1, [0, 0, -5, 5]),
        box(4, 1, [0, 0, float("nan"), 5]),
        box(5, 1, [0, 0, 5]),
        box(6, 1, [0, 0, "wide", 5]),
        box(7, 1, [90, 40, 20, 20]),
        box(8, 1, [200, 0, 5, 5]),
        box(9, 1, [0, 0, 5, 5], category_id=99),
        box(10, 1, [0, 0, 5, 5], category_id=[7]),
        box(11, 1, [0, 0, 5, 5], iscrowd=1),
        box(12, 1, [0, 0, 50, 25]),
        box(13, 55, [0, 0, 5, 5]),
        "not an object",
        {"id": 15, "image_id": 1, "category_id": 7},
    ]
    coco_pair.coco("annotations.json", coco_pair.images, boxes, CATEGORIES)
    report = convert_coco(coco_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == [
        "1 0.250000 0.250000 0.500000 0.500000",
        "1 0.950000 0.900000 0.100000 0.200000",
    ]
    kinds = {p.where: p.kind for p in report.problems if p.kind is not Kind.CLASS_WITHOUT_BOXES}
    assert kinds == {
        "annotation id 2": Kind.ZERO_AREA,
        "annotation id 3": Kind.ZERO_AREA,
        "annotation id 4": Kind.NOT_FINITE,
        "annotation id 5": Kind.BAD_OBJECT,
        "annotation id 6": Kind.BAD_OBJECT,
        "annotation id 7": Kind.PARTLY_OUTSIDE,
        "annotation id 8": Kind.FULLY_OUTSIDE,
        "annotation id 9": Kind.UNKNOWN_CLASS,
        "annotation id 10": Kind.UNKNOWN_CLASS,
        "annotation id 11": Kind.CROWD,
        "annotation id 12": Kind.DUPLICATE_BOX,
        "annotation id 13": Kind.ANNOTATION_WITHOUT_IMAGE,
        "annotations[13]": Kind.BAD_OBJECT,
        "annotation id 15": Kind.BAD_OBJECT,
    }


def test_splits_of_several_files_are_kept_and_other_json_files_passed_over(source, tmp_path):
    for split, number in (("train2017", 1), ("val2017", 2)):
        source.image(f"{split}/000.png", seed=number)
        for prefix in ("instances", "person_keypoints"):
            source.coco(
                f"annotations/{prefix}_{split}.json",
                [(1, "000.png", 100, 50)],
                [box(1, 1, [0, 0, 10 * number, 50])],
                CATEGORIES,
            )
    source.text("annotations/captions_train2017.json", '{"images": [], "annotations": []}')
    report = convert_coco(source, tmp_path)
    assert (tmp_path / "out/labels/train/000.txt").read_text().split()[3] == "0.100000"
    assert (tmp_path / "out/labels/val/000.txt").read_text().split()[3] == "0.200000"
    assert [p.kind for p in report.problems] == [Kind.CLASS_WITHOUT_BOXES]


def test_file_names_may_hold_folders(source, tmp_path):
    for folder in ("one", "two"):
        source.image(f"images/{folder}/1.png")
    images = [(1, "one/1.png", 100, 50), (2, "two\\1.png", 100, 50)]
    source.coco("a.json", images, [box(1, 2, [0, 0, 50, 25])], [(7, "zebra")])
    convert_coco(source, tmp_path)
    bytes_of_two = (source.root / "images/two/1.png").read_bytes()
    for image in (tmp_path / "out").glob("images/*/*.png"):
        label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
        assert bool(label.read_text()) == (image.read_bytes() == bytes_of_two)


def test_listed_images_without_a_file_and_files_not_listed_are_named(coco_pair, tmp_path):
    coco_pair.image("images/extra.png")
    images = [*coco_pair.images, (3, "gone.png", 100, 50)]
    boxes = [box(1, 1, [0, 0, 50, 25]), box(2, 3, [0, 0, 5, 5])]
    coco_pair.coco("a.json", images, boxes, [(7, "zebra")])
    report = convert_coco(coco_pair, tmp_path)
    assert {(p.kind, p.file) for p in report.problems} == {
        (Kind.IN_NO_SPLIT, "images/extra.png"),
        (Kind.ANNOTATION_WITHOUT_IMAGE, "a.json"),
    }
    assert set(labels_of(tmp_path / "out")) == {"a", "b"}


def test_an_image_listed_twice_counts_once(coco_pair, tmp_path):
    images = [*coco_pair.images, (3, "a.png", 100, 50)]
    boxes = [box(1, 1, [0, 0, 50, 25]), box(2, 3, [0, 0, 5, 5])]
    coco_pair.coco("a.json", images, boxes, [(7, "zebra")])
    report = convert_coco(coco_pair, tmp_path)
    assert len(labels_of(tmp_path / "out")["a"]) == 1
    assert [p.kind for p in report.problems] == [Kind.SEVERAL_ANNOTATIONS]


def test_bad_entries_of_images_and_categories_are_named(coco_pair, tmp_path):
    content = {
        "images": [
            {"id": 1, "file_name": "a.png"},
            {"id": 2, "file_name": "b.png", "width": "wide"},
            {"id": 3},
            None,
        ],
        "annotations": [box(1, 1, [0, 0, 50, 25])],
        "categories": [{"id": 7, "name": "zebra"}, {"id": "x", "name": "y"}, 5],
    }
    coco_pair.text("a.json", json.dumps(content))
    report = convert_coco(coco_pair, tmp_path)
    assert [p.where for p in report.problems] == [
        "categories[1]",
        "categories[2]",
        "images[2]",
        "images[3]",
    ]


def test_one_json_file_with_images_elsewhere(coco_pair, tmp_path):
    boxes = [box(1, 1, [0, 0, 50, 25])]
    path = coco_pair.coco("deep/a.json", coco_pair.images, boxes, [(7, "zebra")])
    images = coco_pair.root / "images"
    report = convert(path, tmp_path / "out", from_format="coco", images=images, quiet=True)
    assert sum(counts.images for counts in report.splits.values()) == 2


@pytest.mark.parametrize("text", ["{", "[]", '{"images": []}', '{"a": 1}', "\x00"])
def test_json_that_is_not_coco_is_an_error_with_the_reason(coco_pair, tmp_path, text):
    coco_pair.text("a.json", text)
    with pytest.raises(DataError, match=r"no COCO detection file .*\(a\.json: .*check --from"):
        convert_coco(coco_pair, tmp_path)
    assert not (tmp_path / "out").exists()
