"""A split that keeps near-duplicates together, and what it says about the random one."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlla.cli.data import run
from mlla.data import DataError, Kind, convert
from mlla.data.grouped_split import deal_groups, join_groups
from mlla.data.leaks import link_images, measure_leak

SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh"))), st.randoms())
def test_groups_are_the_connected_parts_in_whatever_order_the_pairs_come(pairs, random):
    groups = join_groups("abcdefgh", pairs)
    # by hand: walk along the pairs until nothing new is reached
    for start in "abcdefgh":
        reached = {start}
        for _ in range(8):
            reached |= {x for pair in pairs if reached & set(pair) for x in pair}
        assert {key for key in groups if groups[key] == groups[start]} == reached
        assert groups[start] == min(reached)
    shuffled = [pair[::-1] for pair in random.sample(pairs, len(pairs))]
    assert join_groups("hgfedcba", shuffled) == groups


@given(
    sizes=st.lists(st.integers(1, 5), min_size=3, max_size=30),
    seed=st.integers(0, 5),
    data=st.data(),
)
def test_no_split_is_left_empty_and_the_order_of_groups_does_not_matter(sizes, seed, data):
    groups = {
        f"g{number}": [[data.draw(st.sampled_from("xyz"))] for _ in range(size)]
        for number, size in enumerate(sizes)
    }
    dealt = deal_groups(groups, SHARES, seed)
    assert set(dealt.values()) == set(SHARES)
    assert deal_groups(dict(reversed(groups.items())), SHARES, seed) == dealt


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gets_its_share_in_every_split(seed):
    # 4 classes, groups of 1 to 7 images, 100 groups each
    groups = {
        f"{name}{number}": [[name]] * (1 + number % 7) for name in "abcd" for number in range(100)
    }
    dealt = deal_groups(groups, SHARES, seed)
    counts = Counter()
    for group, split in dealt.items():
        counts[group[0], split] += len(groups[group])
    for name in "abcd":
        total = sum(counts[name, split] for split in SHARES)
        for split, share in SHARES.items():
            assert counts[name, split] / total == pytest.approx(share, abs=0.02)
    assert deal_groups(groups, SHARES, seed + 1) != dealt


def test_a_leak_counted_by_hand():
    # a and its copy, c like a, d like c, e alone
    links = link_images(["a", "a", "c", "d", "e"], [("a", "c"), ("c", "d")])
    assert links == [(0, 1), (0, 2), (1, 2), (2, 3)]
    leak = measure_leak(links, ["train", "train", "test", "val", "val"])
    assert leak.pairs_apart == 3
    assert leak.leaked == {"val": 0, "test": 1}
    assert leak.images == {"val": 2, "test": 1}


@pytest.fixture
def strips(source):
    """Ten strips of noise, each cut into four pieces that overlap by two thirds."""
    for strip in range(10):
        source.image("strip.png", 80, 40, seed=strip)
        with Image.open(source.root / "strip.png") as noise:
            smooth = noise.resize((320, 160), Image.Resampling.BICUBIC)
        for piece in range(4):
            stem = f"{strip}_{piece}"
            box = (40 * piece, 0, 40 * piece + 160, 160)
            smooth.crop(box).save(source.path(f"images/{stem}.png"))
            label = "dog" if strip % 2 else "cat"
            source.voc(f"xml/{stem}.xml", [(label, 1, 1, 90, 90)], size=(160, 160))
    (source.root / "strip.png").unlink()
    return source


def splits_of_strips(folder):
    found = {}
    for path in folder.glob("images/*/*.png"):
        found.setdefault(path.stem[0], set()).add(path.parent.name)
    return found


def test_pieces_of_one_strip_stay_on_one_side(strips, tmp_path):
    options = {"from_format": "voc", "split": 0.6, "test": 0.2, "quiet": True}
    report = convert(strips.root, tmp_path / "out", group="near-duplicates", **options)
    counts = report.near_duplicates
    assert (counts.images, counts.groups, counts.largest_group) == (40, 10, 4)
    # neighbours overlap by three quarters, the next ones by half, the ends by a quarter
    assert 50 <= counts.pairs <= 60
    assert all(len(splits) == 1 for splits in splits_of_strips(tmp_path / "out").values())
    assert counts.leak.pairs_apart == 0
    assert counts.leak.leaked == {"val": 0, "test": 0}
    assert counts.leak.images == {"val": 8, "test": 8}

    # the random split that the report speaks of is the one that the same seed gives
    convert(strips.root, tmp_path / "random", **options)
    side = {path.stem: path.parent.name for path in tmp_path.glob("random/images/*/*.png")}
    rows = list(csv.DictReader((tmp_path / "out" / "near_duplicates.csv").open()))
    assert len(rows) == counts.pairs
    stems = [tuple(row[key][7:10] for key in ("image", "other")) for row in rows]
    assert all(one[0] == other[0] for one, other in stems)
    apart = sum(side[one] != side[other] for one, other in stems)
    assert counts.leak_at_random.pairs_apart == apart > 20
    assert re.search(rf"pairs in two splits +0 +{apart}\n", report.summary())
    stored = json.loads((tmp_path / "out" / "report.json").read_text())
    assert stored["near_duplicates"]["leak_at_random"]["pairs_apart"] == apart
    assert "near_duplicates" not in json.loads((tmp_path / "random" / "report.json").read_text())


def test_the_same_input_gives_the_same_bytes(strips, tmp_path, fingerprint):
    for name in ("one", "two"):
        run("data", ["convert", str(strips.root), str(tmp_path / name), "--from", "voc",
                     "--group", "near-duplicates", "--test=0.2", "--split=0.6"])  # fmt: skip
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    run("data", ["convert", str(strips.root), str(tmp_path / "other"), "--from=voc",
                 "group=near-duplicates", "split=0.6", "test=0.2", "seed=1"])  # fmt: skip
    assert splits_of_strips(tmp_path / "one") != splits_of_strips(tmp_path / "other")


def test_splits_of_the_source_stay_and_what_they_separate_is_named(strips, tmp_path):
    lists = {"train": "1_0", "val": "1_1", "test": "2_0"}
    for split, stem in lists.items():
        strips.text(f"ImageSets/Main/{split}.txt", f"{stem}\n")
    report = convert(
        strips.root, tmp_path / "out", from_format="voc", group="near-duplicates", quiet=True
    )
    assert report.near_duplicates.leak.leaked == {"val": 1, "test": 0}
    assert report.near_duplicates.leak_at_random is None
    (apart,) = (p for p in report.problems if p.kind is Kind.NEAR_DUPLICATES_APART)
    assert apart.file == "images/1_1.png"
    assert apart.detail == "in val, shows the same as images/1_0.png in train"


def test_test_images_of_the_source_stay_the_test_split(strips, tmp_path):
    strips.text("ImageSets/Main/test.txt", "1_0\n")
    strips.text("ImageSets/Main/trainval.txt", "".join(f"{n}_0\n" for n in (0, *range(2, 10))))
    report = convert(
        strips.root, tmp_path / "out", from_format="voc", split=0.5, test=0.3, quiet=True
    )
    sizes = {split: counts.images for split, counts in report.splits.items()}
    assert sizes == {"train": 4, "val": 5, "test": 1}


def test_a_random_split_with_test_images_has_the_shares_and_keeps_the_training_set(
    strips, tmp_path
):
    train = []
    for name, test in (("with", 0.25), ("without", 0.0)):
        report = convert(
            strips.root, tmp_path / name, from_format="voc", split=0.5, test=test, quiet=True
        )
        assert report.splits["train"].images == 20
        train.append({path.name for path in (tmp_path / name / "images/train").iterdir()})
    assert train[0] == train[1]
    sizes = [len(list((tmp_path / "with/images" / split).iterdir())) for split in SHARES]
    assert sizes == [20, 10, 10]


def test_one_group_cannot_be_split(source, tmp_path):
    original = source.image("0.png", 80, 80)
    source.voc("0.xml", [("dog", 1, 1, 9, 9)], size=(80, 80))
    for number in (1, 2):
        shutil.copyfile(original, source.path(f"{number}.png"))
        with source.path(f"{number}.png").open("ab") as file:
            file.write(b"other bytes, same pixels" * number)
        source.voc(f"{number}.xml", [("dog", 1, 1, 9, 9)], size=(80, 80))
    options = {"from_format": "voc", "group": "near-duplicates", "quiet": True}
    with pytest.raises(DataError, match=r"1 group.* train and val; two are needed"):
        convert(source.root, tmp_path / "out", **options)
    with pytest.raises(DataError, match="train, val and test; three are needed"):
        convert(source.root, tmp_path / "out", split=0.5, test=0.2, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "videos"}, "group is 'videos'; it must be one of identical, near-duplicates"),
        ({"test": -0.1}, "test is -0.1; with split 0.8 .* at least 0 and below 0.2"),
        ({"split": 0.7, "test": 0.3}, "test is 0.3; with split 0.7 .* below 0.3"),
        ({"test": float("nan")}, "test is nan"),
    ],
)
def test_wrong_arguments_are_named_with_a_remedy(voc_pair, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        convert(voc_pair.root, tmp_path / "out", from_format="voc", quiet=True, **options)


def test_every_pair_of_a_chain_is_counted_once():
    links = link_images(["a"] * 4, [])
    assert links == list(combinations(range(4), 2))
