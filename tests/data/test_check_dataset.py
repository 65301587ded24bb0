from __future__ import annotations

import shutil

import pytest

from mlla.data import DataError, Kind, check_dataset, check_images

HEALTHY = "0 0.5 0.5 0.5 0.5\n"


@pytest.fixture
def dataset(source):
    """A healthy data set of two images per split, to be spoiled by the test."""
    for split in ("train", "val"):
        for number in (1, 2):
            source.image(f"images/{split}/{number}.jpg", 40, 30)
            source.text(f"labels/{split}/{number}.txt", HEALTHY)
    source.text("data.yaml", "train: images/train\nval: images/val\nnames: [dog, cat]\n")
    return source


def check(dataset):
    return check_dataset(dataset.root / "data.yaml", quiet=True)


def kinds_of(report):
    return {(p.kind, p.file, p.where) for p in report.problems}


def test_a_healthy_data_set_has_no_problem(dataset):
    report = check(dataset)
    assert report.problems == ()
    assert report.names == ("dog", "cat")
    assert {name: (c.images, dict(c.boxes)) for name, c in report.splits.items()} == {
        "train": (2, {0: 2}),
        "val": (2, {0: 2}),
    }
    assert report.summary().endswith("No problems found.")


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.5", Kind.BAD_OBJECT),
        ("0 0.5 0.5 0.5 0.5 0.9", Kind.BAD_OBJECT),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", Kind.BAD_OBJECT),
        ("dog 0.5 0.5 0.5 0.5", Kind.BAD_OBJECT),
        ("0 0.5 nan 0.5 0.5", Kind.NOT_FINITE),
        ("0 0.5 0.5 1.5 0.5", Kind.PARTLY_OUTSIDE),
        ("0 -0.5 0.5 0.5 0.5", Kind.PARTLY_OUTSIDE),
        ("0 0.1 0.1 0.5 0.1 0.5 0.5", Kind.MIXED_SHAPES),
    ],
)
def test_one_bad_line_costs_the_whole_image(dataset, line, kind):
    dataset.text("labels/train/1.txt", HEALTHY + line)
    report = check(dataset)
    where = "" if kind is Kind.MIXED_SHAPES else "line 2"
    assert kinds_of(report) == {(kind, "labels/train/1.txt", where)}
    assert report.problems[0].action == "Ultralytics drops the whole image"
    assert report.splits["train"].images == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0 0.5", Kind.ZERO_AREA),
        ("0 0.9 0.5 0.5 0.5", Kind.PARTLY_OUTSIDE),
        ("0 0.5 0.5 0.5 0.5", Kind.DUPLICATE_BOX),
    ],
)
def test_lines_that_ultralytics_loads_all_the_same_are_named(dataset, line, kind):
    dataset.text("labels/train/1.txt", HEALTHY + line)
    report = check(dataset)
    assert kinds_of(report) == {(kind, "labels/train/1.txt", "line 2")}
    assert report.splits["train"].images == 2


def test_unusable_images_are_named(dataset):
    dataset.path("images/train/empty.jpg").touch()
    dataset.text("labels/train/empty.txt", HEALTHY)
    cut = dataset.image("images/train/cut.jpg")
    cut.write_bytes(cut.read_bytes()[:800])
    dataset.text("labels/train/cut.txt", HEALTHY)
    assert kinds_of(check(dataset)) == {
        (Kind.UNREADABLE_IMAGE, "images/train/cut.jpg", ""),
        (Kind.UNREADABLE_IMAGE, "images/train/empty.jpg", ""),
    }


def test_extreme_sizes_are_named(dataset):
    dataset.image("images/train/line.png", 10, 400)
    dataset.text("labels/train/line.txt", HEALTHY)
    report = check(dataset)
    assert [p.detail for p in report.problems] == ["10x400 pixels"]
    assert report.problems[0].kind is Kind.EXTREME_SIZE


def test_a_jpeg_that_ultralytics_would_rewrite_is_named(dataset):
    with (dataset.root / "images/train/1.jpg").open("ab") as file:
        file.write(b"more")
    assert kinds_of(check(dataset)) == {(Kind.JPEG_END, "images/train/1.jpg", "")}


def test_images_and_labels_without_their_other_half_are_named(dataset):
    (dataset.root / "labels/train/1.txt").unlink()
    dataset.text("labels/train/lost.txt", HEALTHY)
    dataset.text("labels/train/classes.txt", "dog\n")
    report = check(dataset)
    assert kinds_of(report) == {
        (Kind.IMAGE_WITHOUT_ANNOTATION, "images/train/1.jpg", ""),
        (Kind.ANNOTATION_WITHOUT_IMAGE, "labels/train/lost.txt", ""),
    }
    assert report.splits["train"].backgrounds == 1


def test_identical_images_are_named_across_splits_and_within(dataset):
    for target in ("train/3.jpg", "val/3.jpg"):
        shutil.copy(dataset.root / "images/train/1.jpg", dataset.root / "images" / target)
        dataset.text(f"labels/{target}".replace("jpg", "txt"), HEALTHY)
    assert kinds_of(check(dataset)) == {
        (Kind.DUPLICATE_IMAGE, "images/train/3.jpg", ""),
        (Kind.IN_TWO_SPLITS, "images/val/3.jpg", ""),
    }


def test_classes_beyond_the_names_are_fatal(dataset):
    dataset.text("labels/val/2.txt", HEALTHY + "2 0.5 0.5 0.5 0.5\n")
    with pytest.raises(DataError, match=r"labels/val/2.txt, line 2: class 2; complete `names`"):
        check(dataset)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no keys"),
        ("names: [a", "is not valid YAML"),
        ("names: [dog]", "lacks train and val"),
        ("train: images/train\nnames: [dog]", "lacks val"),
        ("train: images/train\nval: images/val", "names in .* is None"),
        ("train: images/train\nval: images/val\nnames: []", r"names in .* is \[\]"),
        ("train: images/train\nval: nowhere\nnames: [dog]", "val in .* is 'nowhere'"),
        ("train: images/train\nval: images/val\nnc: 3\nnames: [dog]", "nc in .* is 3, but .* 1"),
        ("train: images/train\nval: images/val\nnc: many", "nc in .* is 'many'"),
        ("path: sets/mine\ntrain: a\nval: b\nnames: [dog]", "path in .* Remove the line `path:`"),
    ],
)
def test_a_wrong_data_yaml_is_fatal_with_a_remedy(dataset, text, message):
    dataset.text("data.yaml", text)
    with pytest.raises(DataError, match=message):
        check(dataset)


def test_a_missing_data_yaml_is_fatal(tmp_path):
    with pytest.raises(DataError, match="does not exist; give the data"):
        check_dataset(tmp_path / "data.yaml")


def test_a_split_without_a_usable_image_is_fatal(dataset):
    for path in (dataset.root / "images/val").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"val in .* holds no image that can be used.*0 bytes"):
        check(dataset)


def test_an_absolute_path_lists_and_nc_alone_are_understood(dataset, tmp_path):
    dataset.text("val.txt", "./images/val/1.jpg\n\n./images/val/2.jpg\n")
    yaml = tmp_path / "elsewhere.yaml"
    yaml.write_text(f"path: {dataset.root}\ntrain: [images/train]\nval: val.txt\nnc: 2\n")
    report = check_dataset(yaml, quiet=True)
    assert report.names == ("class_0", "class_1")
    assert report.problems == ()
    assert report.splits["val"].images == 2


def test_a_relative_path_is_named_as_it_depends_on_the_working_folder(dataset, monkeypatch):
    monkeypatch.chdir(dataset.root.parent)
    dataset.text("data.yaml", "path: source\ntrain: images/train\nval: images/val\nnames: [a]\n")
    assert [p.kind for p in check(dataset).problems] == [Kind.PATH_DEPENDS]


def test_one_dot_dot_too_much_is_forgiven_as_ultralytics_does(dataset):
    dataset.text("data.yaml", "train: ../images/train\nval: ../images/val\nnames: [dog]\n")
    assert check(dataset).problems == ()


def test_nothing_is_changed(dataset, fingerprint):
    dataset.path("images/train/empty.jpg").touch()
    before = fingerprint(dataset.root)
    check(dataset)
    assert fingerprint(dataset.root) == before


def test_problems_that_cost_the_image_are_told_apart(dataset):
    dataset.root.joinpath("images/train/1.jpg").write_bytes(b"")
    dataset.root.joinpath("labels/train/stray.txt").write_text(HEALTHY)
    report = check(dataset)
    assert len(report.problems) > 1
    assert [problem.detail for problem in report.dropped] == ["0 bytes"]


def test_a_relative_path_is_first_looked_up_in_the_datasets_folder(dataset, tmp_path_factory):
    content = (dataset.root / "data.yaml").read_text()
    moved = tmp_path_factory.mktemp("elsewhere") / "data.yaml"
    moved.write_text(f"path: {dataset.root.name}\n{content}")
    report = check_dataset(moved, datasets_folder=dataset.root.parent, quiet=True)
    assert report.splits["train"].images == 2
    assert not report.count(Kind.PATH_DEPENDS)


def test_check_images_names_what_cannot_be_predicted_on(dataset):
    good, empty, missing = (dataset.root / name for name in ("images/val/1.jpg", "e.jpg", "m.png"))
    empty.write_bytes(b"")
    problems = check_images([good, empty, missing])
    assert [(problem.file, problem.detail) for problem in problems] == [
        (str(empty), "0 bytes"),
        (str(missing), "cannot be read: No such file or directory"),
    ]
