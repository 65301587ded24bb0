from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlla.data import DataError, Kind, convert
from mlla.data.layout import label_line
from mlla.data.shapes import BadShapeError
from mlla.data.yolo_labels import parse_label_line

HEALTHY = "0 0.5 0.5 0.5 0.5\n"


def convert_yolo(source, tmp_path, **options):
    return convert(source.root, tmp_path / "out", from_format="yolo", quiet=True, **options)


def labels_of(folder):
    return {path.stem: path.read_text().splitlines() for path in folder.glob("labels/*/*.txt")}


@pytest.fixture
def yolo_pair(source):
    for stem in ("a", "b"):
        source.image(f"images/{stem}.png")
        source.text(f"labels/{stem}.txt", HEALTHY)
    source.text("data.yaml", "names: [dog, cat]")
    return source


def test_lines_are_dealt_with_one_by_one(yolo_pair, tmp_path):
    yolo_pair.text(
        "labels/a.txt",
        "\ufeff0 0.25 0.25 0.5 0.5\n"
        "\n"
        "1 0.9 0.5 0.4 1\n"
        "2 0.5 0.5 0.1 0.1\n"
        "0 0.5 0.5 0.1\n"
        "0 0.5 0.5 0.1 0.1 0.9\n"
        "0 0.5 0.5 nan 0.1\n"
        "dog 0.5 0.5 0.1 0.1\n"
        "0.5 0.5 0.5 0.1 0.1\n"
        "-1 0.5 0.5 0.1 0.1\n"
        "0 0.5 0.5 0 0.1\n"
        "0 320 240 64 64\n"
        "0 0.25 0.25 0.5 0.5\n",
    )
    report = convert_yolo(yolo_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == [
        "0 0.250000 0.250000 0.500000 0.500000",
        "1 0.850000 0.500000 0.300000 1.000000",
    ]
    assert {p.where: p.kind for p in report.problems} == {
        "line 3": Kind.PARTLY_OUTSIDE,
        "line 4": Kind.UNKNOWN_CLASS,
        "line 5": Kind.BAD_OBJECT,
        "line 6": Kind.BAD_OBJECT,
        "line 7": Kind.NOT_FINITE,
        "line 8": Kind.BAD_OBJECT,
        "line 9": Kind.BAD_OBJECT,
        "line 10": Kind.BAD_OBJECT,
        "line 11": Kind.ZERO_AREA,
        "line 12": Kind.FULLY_OUTSIDE,
        "line 13": Kind.DUPLICATE_BOX,
    }


def test_polygons_stay_polygons(yolo_pair, tmp_path):
    yolo_pair.text("labels/a.txt", "1 0.1 0.1 0.5 0.1 0.5 1.2\n")
    report = convert_yolo(yolo_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == [
        "1 0.100000 0.100000 0.500000 0.100000 0.500000 1.000000"
    ]
    assert [p.kind for p in report.problems] == [Kind.PARTLY_OUTSIDE]


def test_boxes_beside_polygons_become_polygons(yolo_pair, tmp_path):
    yolo_pair.text("labels/a.txt", "0 0.5 0.5 0.5 0.25\n1 0.1 0.1 0.5 0.1 0.5 0.9\n")
    report = convert_yolo(yolo_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"][0] == (
        "0 0.250000 0.375000 0.750000 0.375000 0.750000 0.625000 0.250000 0.625000"
    )
    kinds = [p.kind for p in report.problems]
    assert kinds == [Kind.MIXED_SHAPES]


@pytest.mark.parametrize(
    "layout",
    [
        "images/{split}/{name}.png labels/{split}/{name}.txt",
        "{split}/images/{name}.png {split}/labels/{name}.txt",
        "{split}/{name}.png {split}/{name}.txt",
        "images/{split}2017/{name}.png labels/{split}2017/{name}.txt",
    ],
)
@pytest.mark.parametrize("val", ["val", "valid"])
def test_splits_are_kept_in_every_usual_arrangement(source, tmp_path, layout, val):
    for split in ("train", val, "test"):
        image, label = layout.format(split=split, name="1").split()
        source.image(image)
        source.text(label, HEALTHY)
    report = convert_yolo(source, tmp_path)
    assert {name: counts.images for name, counts in report.splits.items()} == {
        "train": 1,
        "val": 1,
        "test": 1,
    }
    assert sum(counts.boxes[0] for counts in report.splits.values()) == 3
    assert report.names == ("class_0",)
    assert report.problems == ()


def test_lists_beside_flat_folders_are_kept(yolo_pair, tmp_path):
    yolo_pair.text("train.txt", "./images/b.png\n")
    yolo_pair.text("val.txt", "/somewhere/else/images/a.png\n")
    convert_yolo(yolo_pair, tmp_path)
    assert (tmp_path / "out/images/train/b.png").exists()
    assert (tmp_path / "out/images/val/a.png").exists()


def test_images_and_labels_without_their_other_half(yolo_pair, tmp_path):
    yolo_pair.image("images/alone.png")
    yolo_pair.text("labels/lost.txt", HEALTHY)
    yolo_pair.text("labels/classes.txt", "dog\n")
    report = convert_yolo(yolo_pair, tmp_path)
    assert {(p.kind, p.file) for p in report.problems if p.where == ""} == {
        (Kind.ANNOTATION_WITHOUT_IMAGE, "labels/lost.txt"),
        (Kind.IMAGE_WITHOUT_ANNOTATION, "images/alone.png"),
    }
    assert labels_of(tmp_path / "out")["alone"] == []


def test_an_empty_label_file_is_an_intended_background(yolo_pair, tmp_path):
    yolo_pair.text("labels/a.txt", "")
    report = convert_yolo(yolo_pair, tmp_path)
    assert Kind.IMAGE_WITHOUT_ANNOTATION not in {p.kind for p in report.problems}
    assert sum(counts.backgrounds for counts in report.splits.values()) == 1


def test_labels_that_are_no_text_leave_their_image_out(yolo_pair, tmp_path):
    yolo_pair.image("images/c.png")
    yolo_pair.path("labels/c.txt").write_bytes(b"\xff\xfe\x00\x01")
    report = convert_yolo(yolo_pair, tmp_path)
    assert set(labels_of(tmp_path / "out")) == {"a", "b"}
    assert (Kind.UNREADABLE_ANNOTATION, "labels/c.txt") in {
        (p.kind, p.file) for p in report.problems
    }


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("data.yaml", "names: [owl, dog]", ("owl", "dog")),
        ("anything.yml", "names: {1: dog, 0: owl}", ("owl", "dog")),
        ("data.yaml", "names: [yes, 1]", ("True", "1")),
        ("labels/classes.txt", "owl\n dog \n\n", ("owl", "dog")),
        ("obj.names", "猫头鹰\n狗\n", ("猫头鹰", "狗")),
    ],
)
def test_names_are_found(source, tmp_path, file, text, names):
    for stem in ("a", "b"):
        source.image(f"images/{stem}.png")
        source.text(f"labels/{stem}.txt", "0 0.5 0.5 0.5 0.5\n1 0.5 0.5 0.2 0.2\n")
    source.text(file, text)
    assert convert_yolo(source, tmp_path).names == names


def test_given_classes_name_the_ids_where_the_source_does_not(source, tmp_path):
    for stem in ("a", "b"):
        source.image(f"images/{stem}.png")
        source.text(f"labels/{stem}.txt", "1 0.5 0.5 0.5 0.5\n")
    report = convert_yolo(source, tmp_path, classes=["owl", "dog"])
    assert report.names == ("owl", "dog")
    assert labels_of(tmp_path / "out")["a"][0].startswith("1 ")


@pytest.mark.parametrize("text", ["names: {0: a, 2: b}", "names: 3", "names: [a"])
def test_names_that_cannot_be_read_are_an_error(yolo_pair, tmp_path, text):
    yolo_pair.text("data.yaml", text)
    with pytest.raises(DataError, match=r"data\.yaml"):
        convert_yolo(yolo_pair, tmp_path)


def test_converting_the_result_again_changes_no_label(yolo_pair, tmp_path, fingerprint):
    yolo_pair.text("labels/a.txt", "0 0.123457 0.654321 0.111111 0.222223\n1 0.3 0.3 0.6 0.6\n")
    first = convert_yolo(yolo_pair, tmp_path)
    again = convert(tmp_path / "out", tmp_path / "again", from_format="yolo", quiet=True)
    assert again.splits == first.splits
    assert fingerprint(tmp_path / "again" / "labels") == fingerprint(tmp_path / "out" / "labels")


@given(
    class_id=st.integers(0, 999),
    numbers=st.lists(st.integers(0, 1_000_000), min_size=4, max_size=20).filter(
        lambda numbers: len(numbers) == 4 or (len(numbers) >= 6 and len(numbers) % 2 == 0)
    ),
)
def test_a_line_that_was_written_is_read_back(class_id, numbers):
    values = tuple(number / 1e6 for number in numbers)
    assert parse_label_line(label_line(class_id, values)) == (class_id, values)


@given(st.text(alphabet="0123456789.-+eEnaif \t", max_size=40).filter(str.strip))
def test_no_line_makes_the_reader_crash(line):
    try:
        class_id, numbers = parse_label_line(line)
    except BadShapeError:
        return
    assert class_id >= 0
    assert len(numbers) == 4 or len(numbers) >= 6
