from __future__ import annotations

import io
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlla.data import DataError, Kind, check_dataset, convert, write_demo
from mlla.data.images import ImageFacts
from mlla.data.placing import Placed, assign_splits
from mlla.data.source import Sample


def convert_voc(source, destination, **options):
    return convert(source.root, destination, from_format="voc", quiet=True, **options)


def test_the_same_input_gives_the_same_bytes_wherever_it_lies(voc_pair, tmp_path, fingerprint):
    voc_pair.voc("Annotations/a.xml", [("dog", 5, 5, 5, 5), ("cat", 1, 1, 999, 50)])
    elsewhere = tmp_path / "moved" / "copy"
    # written in the opposite order, so that the file system lists it differently
    for path in sorted(voc_pair.root.rglob("*"), reverse=True):
        if path.is_file():
            target = elsewhere / path.relative_to(voc_pair.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            os.utime(target, (1, 1))
    convert_voc(voc_pair, tmp_path / "one")
    convert(elsewhere, tmp_path / "far" / "two", from_format="voc", quiet=True)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "far" / "two")


def test_no_path_of_the_machine_is_written(voc_pair, tmp_path):
    convert_voc(voc_pair, tmp_path / "out")
    for name in ("data.yaml", "report.txt", "report.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text()


def test_seed_and_split_change_the_split(source, tmp_path):
    for number in range(20):
        source.image(f"{number}.png", 12, 12, seed=number)
        source.voc(f"{number}.xml", [("dog", 1, 1, 9, 9)], size=(12, 12))
    train = {}
    for seed in (0, 1):
        report = convert_voc(source, tmp_path / f"seed{seed}", seed=seed, split=0.7)
        assert report.splits["train"].images == 14
        folder = tmp_path / f"seed{seed}" / "images" / "train"
        train[seed] = {path.name for path in folder.iterdir()}
    assert train[0] != train[1]


def test_identical_images_stay_together_and_are_named(source, tmp_path):
    original = source.image("0.png", 12, 12)
    for number in range(1, 8):
        shutil.copyfile(original, source.path(f"{number}.png"))
    source.image("other.png", 12, 12)
    for stem in [*range(8), "other"]:
        source.voc(f"{stem}.xml", [("dog", 1, 1, 9, 9)], size=(12, 12))
    report = convert_voc(source, tmp_path / "out", split=0.5)
    assert report.count(Kind.DUPLICATE_IMAGE) == 7
    assert {counts.images for counts in report.splits.values()} == {8, 1}


def test_identical_images_in_given_splits_stay_and_are_named(source, tmp_path):
    source.image("train/images/1.png")
    source.text("train/labels/1.txt", "0 0.5 0.5 0.5 0.5")
    shutil.copytree(source.root / "train", source.root / "val")
    report = convert(source.root, tmp_path / "out", from_format="yolo", quiet=True)
    assert [(p.kind, p.file) for p in report.problems] == [(Kind.IN_TWO_SPLITS, "val/images/1.png")]


@given(
    digests=st.lists(st.sampled_from("abcdefghij"), min_size=2).filter(lambda d: len(set(d)) > 1),
    share=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_random_splits_keep_groups_together_and_leave_no_side_empty(digests, share, seed):
    items = [
        Placed(Sample(f"{number}.png", path=None), ImageFacts((1, 1), 1, digest, True))
        for number, digest in enumerate(digests)
    ]
    assigned = assign_splits(items, {"train": share, "val": 1 - share}, seed, [])
    splits_of_digest = {}
    for item in assigned:
        splits_of_digest.setdefault(item.facts.digest, set()).add(item.split)
    assert len(assigned) == len(digests)
    assert all(len(splits) == 1 for splits in splits_of_digest.values())
    assert set.union(*splits_of_digest.values()) == {"train", "val"}


def test_a_split_does_not_depend_on_the_other_images():
    def train_of(digests):
        items = [Placed(Sample(d, path=None), ImageFacts((1, 1), 1, d, True)) for d in digests]
        return {
            i.sample.image
            for i in assign_splits(items, {"train": 0.5, "val": 0.5}, 3, [])
            if i.split == "train"
        }

    few = [f"{number:02d}" for number in range(20)]
    moved = train_of(few) ^ (train_of([*few, "new"]) - {"new"})
    assert len(moved) <= 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("quiet", [True, False])
def test_a_progress_bar_is_shown_unless_quiet(voc_pair, tmp_path, monkeypatch, quiet):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    convert(voc_pair.root, tmp_path / "out", from_format="voc", quiet=quiet)
    check_dataset(tmp_path / "out" / "data.yaml", quiet=quiet)
    write_demo(tmp_path / "demo", num_images=12, quiet=quiet)
    shown = [word in terminal.getvalue() for word in ("reading", "writing", "checking", "drawing")]
    assert shown == [not quiet] * 4


def test_interruption_leaves_nothing_behind(voc_pair, tmp_path, monkeypatch):
    def interrupt(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfile", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert_voc(voc_pair, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_destination_that_holds_something_is_refused_untouched(voc_pair, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists and is not empty"):
        convert_voc(voc_pair, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_an_empty_destination_and_missing_parents_are_fine(voc_pair, tmp_path):
    (tmp_path / "out").mkdir()
    convert_voc(voc_pair, tmp_path / "out")
    convert_voc(voc_pair, tmp_path / "deep" / "deeper" / "out")
    assert (tmp_path / "deep" / "deeper" / "out" / "data.yaml").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"from_format": "labelme"}, "from_format is 'labelme'; it must be one of voc, coco, yolo"),
        ({"split": 0.0}, "split is 0.0; it must lie between 0 and 1"),
        ({"split": 1}, "split is 1; it must lie between 0 and 1"),
        ({"split": float("nan")}, "split is nan"),
        ({"classes": []}, r"classes is \[\]; give a list"),
        ({"classes": "dog"}, "classes is 'dog'; give a list"),
        ({"classes": ["dog", "dog"]}, "names each class once"),
        ({"images": "nowhere"}, "images nowhere is not a folder"),
    ],
)
def test_wrong_arguments_are_named_with_a_remedy(voc_pair, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        convert(voc_pair.root, tmp_path / "out", **{"from_format": "voc", **options})
    assert not (tmp_path / "out").exists()


def test_sources_that_hold_nothing_are_an_error(voc_pair, source, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = {
        "voc": r"no VOC annotation .* check --from",
        "coco": r"no COCO detection file .* check --from",
        "yolo": r"no label file .* check --from",
    }
    for from_format, message in cases.items():
        with pytest.raises(DataError, match=message):
            convert(empty, tmp_path / "out", from_format=from_format)
    with pytest.raises(DataError, match="does not exist"):
        convert(tmp_path / "nowhere", tmp_path / "out", from_format="voc")
    with pytest.raises(DataError, match="is a file; give the folder"):
        convert(voc_pair.root / "Annotations/a.xml", tmp_path / "out", from_format="voc")
    with pytest.raises(DataError, match="lies inside"):
        convert_voc(voc_pair, voc_pair.root / "out")


def test_a_source_without_images_says_how_to_name_their_folder(source, tmp_path):
    source.voc("a.xml", [("dog", 1, 1, 9, 9)])
    with pytest.raises(DataError, match=r"no image 'a'.*--images"):
        convert_voc(source, tmp_path / "out")


def test_a_source_without_any_box_is_an_error(source, tmp_path):
    source.image("a.png")
    source.voc("a.xml")
    with pytest.raises(DataError, match="no box at all"):
        convert_voc(source, tmp_path / "out")


def test_one_image_cannot_be_split(source, tmp_path):
    source.image("a.png")
    source.voc("a.xml", [("dog", 1, 1, 9, 9)])
    with pytest.raises(DataError, match="two are needed"):
        convert_voc(source, tmp_path / "out")


def test_when_no_image_can_be_read_the_reason_is_given(source, tmp_path):
    source.path("a.png").touch()
    source.voc("a.xml", [("dog", 1, 1, 9, 9)])
    with pytest.raises(DataError, match=r"none of the 1 images can be read.*0 bytes"):
        convert_voc(source, tmp_path / "out")


def test_hidden_files_are_passed_over_and_linked_folders_followed_once(voc_pair, tmp_path):
    voc_pair.text("JPEGImages/._a.png", "resource fork")
    voc_pair.text("__MACOSX/Annotations/a.xml", "junk")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(voc_pair.root / "JPEGImages", elsewhere)
    (voc_pair.root / "JPEGImages").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(elsewhere)
    report = convert_voc(voc_pair, tmp_path / "out")
    assert report.problems == ()
    assert sum(counts.images for counts in report.splits.values()) == 2
