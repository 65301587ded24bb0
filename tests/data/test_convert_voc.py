from __future__ import annotations

import json

import pytest
import yaml
from PIL import Image

from mlla.data import DataError, Kind, convert


def labels_of(folder):
    """All label lines by stem, whatever the split."""
    return {path.stem: path.read_text().splitlines() for path in folder.glob("labels/*/*.txt")}


def problems_of(report, kind):
    return [(p.file, p.where, p.action) for p in report.problems if p.kind is kind]


def convert_voc(source, tmp_path, **options):
    return convert(source.root, tmp_path / "out", from_format="voc", quiet=True, **options)


def test_a_box_by_hand(voc_pair, tmp_path):
    report = convert_voc(voc_pair, tmp_path)
    # pixels 11..60 of 100 are edges 10..60: centre 35, width 50; pixels 6..30 of 50: 5..30
    assert labels_of(tmp_path / "out") == {
        "a": ["0 0.350000 0.350000 0.500000 0.500000"],
        "b": ["0 0.350000 0.350000 0.500000 0.500000"],
    }
    assert report.problems == ()
    assert {name: counts.images for name, counts in report.splits.items()} == {"train": 1, "val": 1}


def test_data_yaml_has_no_path_so_that_its_own_folder_counts(voc_pair, tmp_path):
    report = convert_voc(voc_pair, tmp_path)
    assert yaml.safe_load(report.data_yaml.read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "dog"},
    }


def test_images_are_copied_byte_for_byte(voc_pair, tmp_path):
    convert_voc(voc_pair, tmp_path)
    for path in (tmp_path / "out").glob("images/*/*.png"):
        assert path.read_bytes() == (voc_pair.root / "JPEGImages" / path.name).read_bytes()


def test_boxes_are_dealt_with_one_by_one(voc_pair, tmp_path):
    voc_pair.voc(
        "Annotations/a.xml",
        [
            ("dog", 1, 1, 100, 50),
            ("dog", 20, 20, 20, 20),
            ("dog", 90, 40, 120, 70),
            ("dog", 101, 1, 150, 50),
            ("dog", "nan", 1, 5, 5),
            ("dog", "left", 1, 5, 5),
            ("dog", 1, 1, 100, 50),
            ("", 1, 1, 5, 5),
            ("cat", 0, 0, 50, 25),
        ],
    )
    report = convert_voc(voc_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == [
        "1 0.500000 0.500000 1.000000 1.000000",
        # pixels from 90 of 100 and from 40 of 50: edges 0.89..1 and 0.78..1
        "1 0.945000 0.890000 0.110000 0.220000",
        # zero is left of the first pixel: clipped
        "0 0.250000 0.250000 0.500000 0.500000",
    ]
    found = {p.where: (p.kind, p.action) for p in report.problems}
    assert found == {
        "object 2": (Kind.ZERO_AREA, "box dropped"),
        "object 3": (Kind.PARTLY_OUTSIDE, "clipped to 0..1"),
        "object 4": (Kind.FULLY_OUTSIDE, "box dropped"),
        "object 5": (Kind.NOT_FINITE, "box dropped"),
        "object 6": (Kind.BAD_OBJECT, "box dropped"),
        "object 7": (Kind.DUPLICATE_BOX, "box dropped"),
        "object 8": (Kind.BAD_OBJECT, "box dropped"),
        "object 9": (Kind.PARTLY_OUTSIDE, "clipped to 0..1"),
    }
    assert {p.file for p in report.problems} == {"Annotations/a.xml"}


def test_an_object_without_a_box_is_named(voc_pair, tmp_path):
    voc_pair.text(
        "Annotations/a.xml",
        "<annotation><object><name>dog</name></object>"
        "<object><name>dog</name><bndbox><xmin>1</xmin></bndbox></object></annotation>",
    )
    report = convert_voc(voc_pair, tmp_path)
    assert [p.detail for p in report.problems] == [
        "<bndbox> lacks xmin, ymin, xmax, ymax",
        "<bndbox> lacks ymin, xmax, ymax",
    ]


def test_an_image_whose_xml_is_broken_is_left_out_not_made_background(voc_pair, tmp_path):
    voc_pair.image("JPEGImages/c.png")
    voc_pair.text("Annotations/c.xml", "<annotation><object>")
    report = convert_voc(voc_pair, tmp_path)
    assert set(labels_of(tmp_path / "out")) == {"a", "b"}
    assert [p.file for p in report.problems] == ["Annotations/c.xml"]
    assert report.problems[0].kind is Kind.UNREADABLE_ANNOTATION


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "latin-1"])
def test_declared_encodings_are_read(voc_pair, tmp_path, encoding):
    label = "h\u00fcbsch" if encoding == "latin-1" else "\u5212\u75d5"
    path = voc_pair.voc("Annotations/a.xml", [(label, 1, 1, 9, 9)])
    declared = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n{path.read_text("utf-8")}'
    path.write_bytes(text.encode(encoding))
    report = convert_voc(voc_pair, tmp_path)
    assert report.names == ("dog", label)
    assert report.problems == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00\xff", b"<?xml version='1.0' encoding='klingon'?><annotation/>", b"<a>&b;</a>"],
)
def test_xml_that_does_not_parse_never_crashes(voc_pair, tmp_path, content):
    voc_pair.image("JPEGImages/c.png")
    voc_pair.path("Annotations/c.xml").write_bytes(content)
    report = convert_voc(voc_pair, tmp_path)
    assert [p.kind for p in report.problems] == [Kind.UNREADABLE_ANNOTATION]


def test_images_and_annotations_without_their_other_half_are_named(voc_pair, tmp_path):
    voc_pair.image("JPEGImages/alone.png")
    voc_pair.voc("Annotations/lost.xml", [("dog", 1, 1, 9, 9)])
    report = convert_voc(voc_pair, tmp_path)
    assert labels_of(tmp_path / "out")["alone"] == []
    assert [p.file for p in report.problems if p.kind is Kind.IMAGE_WITHOUT_ANNOTATION] == [
        "JPEGImages/alone.png"
    ]
    assert [p.file for p in report.problems if p.kind is Kind.ANNOTATION_WITHOUT_IMAGE] == [
        "Annotations/lost.xml"
    ]
    assert sum(counts.backgrounds for counts in report.splits.values()) == 1


def test_an_annotation_without_objects_is_an_intended_background(voc_pair, tmp_path):
    voc_pair.voc("Annotations/a.xml", [])
    report = convert_voc(voc_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == []
    assert report.problems == ()


def test_unusable_images_are_left_out_and_named(voc_pair, tmp_path):
    for stem in ("empty", "cut"):
        voc_pair.voc(f"Annotations/{stem}.xml", [("dog", 1, 1, 9, 9)])
    voc_pair.path("JPEGImages/empty.jpg").touch()
    cut = voc_pair.image("JPEGImages/cut.jpg")
    cut.write_bytes(cut.read_bytes()[:1500])
    report = convert_voc(voc_pair, tmp_path)
    assert set(labels_of(tmp_path / "out")) == {"a", "b"}
    assert problems_of(report, Kind.UNREADABLE_IMAGE) == [
        ("JPEGImages/cut.jpg", "", "image left out"),
        ("JPEGImages/empty.jpg", "", "image left out"),
    ]


def test_the_size_comes_from_the_image_not_from_the_xml(voc_pair, tmp_path):
    voc_pair.voc("Annotations/a.xml", [("dog", 11, 6, 60, 30)], size=(200, 100))
    report = convert_voc(voc_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == ["0 0.350000 0.350000 0.500000 0.500000"]
    assert [str(p) for p in report.problems] == [
        "JPEGImages/a.png: 200x100 is stated, the image has 100x50 "
        "-> boxes taken as pixels of the image"
    ]


def test_boxes_drawn_on_a_lying_photograph_are_turned(voc_pair, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    voc_pair.image("JPEGImages/a.png", 100, 50, exif=exif)
    # upper left corner of the stored image is the upper right corner of the displayed one
    voc_pair.voc("Annotations/a.xml", [("dog", 1, 1, 10, 20)], size=(100, 50))
    report = convert_voc(voc_pair, tmp_path)
    # displayed 50 wide, 100 high: edges 30..50 and 0..10
    assert labels_of(tmp_path / "out")["a"] == ["0 0.800000 0.050000 0.400000 0.100000"]
    assert [p.kind for p in report.problems] == [Kind.TURNED]


def test_boxes_drawn_on_the_displayed_photograph_are_not_turned(voc_pair, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    voc_pair.image("JPEGImages/a.png", 100, 50, exif=exif)
    voc_pair.voc("Annotations/a.xml", [("dog", 31, 1, 50, 10)], size=(50, 100))
    report = convert_voc(voc_pair, tmp_path)
    assert labels_of(tmp_path / "out")["a"] == ["0 0.800000 0.050000 0.400000 0.100000"]
    assert report.problems == ()


def test_split_lists_are_kept(source, tmp_path):
    for stem in "abcde":
        source.image(f"VOC/JPEGImages/{stem}.png")
        source.voc(f"VOC/Annotations/{stem}.xml", [("dog", 1, 1, 9, 9)])
    source.text("VOC/ImageSets/Main/train.txt", "a 1\nb -1\n")
    source.text("VOC/ImageSets/Main/val.txt", "c\nb\n")
    source.text("VOC/ImageSets/Main/trainval.txt", "a\nb\nc\nd\n")
    source.text("VOC/ImageSets/Main/test.txt", "e\nghost\n")
    report = convert_voc(source, tmp_path)
    out = tmp_path / "out" / "images"
    written = {split: sorted(p.stem for p in (out / split).iterdir()) for split in report.splits}
    assert written == {"train": ["a", "b"], "val": ["c"], "test": ["e"]}
    assert problems_of(report, Kind.IN_NO_SPLIT) == [("VOC/JPEGImages/d.png", "", "image left out")]
    assert [p.where for p in report.problems if p.kind is Kind.IN_TWO_SPLITS] == ["b"]
    assert [p.where for p in report.problems if p.kind is Kind.LISTED_MISSING] == ["ghost"]


def test_a_trainval_list_is_split_at_random_and_test_kept(source, tmp_path):
    for stem in "abcdef":
        source.image(f"JPEGImages/{stem}.png")
        source.voc(f"Annotations/{stem}.xml", [("dog", 1, 1, 9, 9)])
    source.text("ImageSets/Main/trainval.txt", "a\nb\nc\nd\n")
    source.text("ImageSets/Main/test.txt", "e\nf\n")
    report = convert_voc(source, tmp_path, split=0.75)
    counts = {name: counts.images for name, counts in report.splits.items()}
    assert counts == {"train": 3, "val": 1, "test": 2}
    assert report.problems == ()


def test_images_in_class_folders_find_their_flat_annotations(source, tmp_path):
    for split, stem in (("train", "crazing_1"), ("validation", "crazing_2")):
        source.image(f"{split}/images/crazing/{stem}.jpg")
        source.voc(f"{split}/annotations/{stem}.xml", [("crazing", 1, 1, 9, 9)])
    report = convert_voc(source, tmp_path)
    assert sorted(p.name for p in (tmp_path / "out/images/val").iterdir()) == ["crazing_2.jpg"]
    assert report.problems == ()


def test_names_of_several_folders_do_not_overwrite_each_other(source, tmp_path):
    for folder, label in (("one", "cat"), ("two", "dog"), ("three", "owl")):
        source.image(f"{folder}/JPEGImages/1.png")
        source.voc(f"{folder}/Annotations/1.xml", [(label, 1, 1, 50, 25)])
    report = convert_voc(source, tmp_path, split=0.5)
    sources = {path.read_bytes(): path.parts[-3] for path in source.root.rglob("*.png")}
    class_ids = {"one": "0", "two": "1", "three": "2"}
    written = list((tmp_path / "out").glob("images/*/*.png"))
    assert {sources[path.read_bytes()] for path in written} == {"one", "two", "three"}
    for image in written:
        label = image.parents[2] / "labels" / image.parent.name / f"{image.stem}.txt"
        assert label.read_text().split()[0] == class_ids[sources[image.read_bytes()]]
    assert [p.kind for p in report.problems] == [Kind.RENAMED]


def test_one_stem_with_two_suffixes_is_not_guessed(voc_pair, tmp_path):
    voc_pair.image("JPEGImages/a.jpg")
    report = convert_voc(voc_pair, tmp_path)
    assert len(list((tmp_path / "out").glob("images/*/a.*"))) == 1
    assert {p.kind for p in report.problems} == {Kind.SEVERAL_IMAGES}


def test_the_file_name_in_the_xml_helps_where_the_stem_does_not(source, tmp_path):
    for stem in "ab":
        source.image(f"images/{stem}.png")
        source.voc(f"xml/annotation_{stem}.xml", [("dog", 1, 1, 9, 9)], filename=f"C:\\{stem}.png")
    report = convert_voc(source, tmp_path)
    assert len(labels_of(tmp_path / "out")["a"]) == 1
    assert report.problems == ()


def test_given_classes_set_the_ids_and_others_are_unknown(voc_pair, tmp_path):
    voc_pair.voc("Annotations/a.xml", [("cat", 1, 1, 9, 9), ("dog", 1, 1, 50, 25)])
    report = convert_voc(voc_pair, tmp_path, classes=["owl", "dog"])
    assert labels_of(tmp_path / "out")["a"] == ["1 0.250000 0.250000 0.500000 0.500000"]
    assert problems_of(report, Kind.UNKNOWN_CLASS) == [
        ("Annotations/a.xml", "object 1", "box dropped")
    ]
    assert [p.where for p in report.problems if p.kind is Kind.CLASS_WITHOUT_BOXES] == ["owl"]


def test_classes_that_do_not_fit_at_all_are_an_error(voc_pair, tmp_path):
    with pytest.raises(DataError, match=r"none of the given classes \['cat'\].*\['dog'\]"):
        convert_voc(voc_pair, tmp_path, classes=["cat"])


def test_class_ids_follow_the_sorted_names(source, tmp_path):
    for stem, label in (("a", "zebra"), ("b", "ape")):
        source.image(f"{stem}.png")
        source.voc(f"{stem}.xml", [(label, 1, 1, 9, 9)])
    assert convert_voc(source, tmp_path).names == ("ape", "zebra")


def test_report_files_name_every_problem(voc_pair, tmp_path):
    objects = [("dog", 1, 1, 50, 25)] + [("dog", 5, 5, 5, 5)] * 5
    voc_pair.voc("Annotations/a.xml", objects)
    report = convert_voc(voc_pair, tmp_path)
    text = (tmp_path / "out" / "report.txt").read_text()
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    for number in range(2, 7):
        assert f"Annotations/a.xml, object {number}: corners (5, 5) and (5, 5)" in text
    assert content["problem_counts"] == {"zero-area box": 5}
    assert content["problems"][0] == {
        "kind": "zero-area box",
        "file": "Annotations/a.xml",
        "where": "object 2",
        "detail": "corners (5, 5) and (5, 5) enclose nothing",
        "action": "box dropped",
    }
    assert sum(split["boxes"]["dog"] for split in content["splits"].values()) == 2
    assert "... and 2 more" in report.summary()
