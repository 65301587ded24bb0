"""Near-duplicates in NEU-DET: pairs known from looking at them, and the whole set."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from mlla.data import convert
from mlla.data.near_duplicates import find_near_duplicates

# looked at side by side: neighbouring pieces of one strip, the last two turned by a quarter
SAME_STRIP = [
    ("crazing_100", "crazing_101"),
    ("inclusion_187", "inclusion_188"),
    ("rolled-in_scale_161", "rolled-in_scale_162"),
    ("rolled-in_scale_62", "rolled-in_scale_63"),
    ("scratches_116", "scratches_117"),
    ("scratches_157", "scratches_279"),
    ("scratches_24", "scratches_298"),
]
# alike, but other places on the steel
OTHERS = [
    "patches_141", "patches_76", "patches_147", "patches_299", "patches_136", "patches_99",
    "scratches_152", "scratches_40", "inclusion_132", "inclusion_29", "crazing_57", "crazing_85",
]  # fmt: skip


def test_pairs_known_from_looking_are_found_and_no_others(real_set):
    folder = real_set("NEU-DET") / "IMAGES"
    names = [*OTHERS, *(name for pair in SAME_STRIP for name in pair)]
    found = find_near_duplicates({name: folder / f"{name}.jpg" for name in names}, quiet=True)
    assert [(pair.first, pair.second) for pair in found] == SAME_STRIP
    turns = {pair.first: pair.quarter_turns for pair in found if pair.quarter_turns}
    assert turns == {"scratches_157": 3, "scratches_24": 3}
    assert not any(pair.mirrored for pair in found)


# minutes: 1,800 images make 13 million comparisons
@pytest.mark.slow
def test_the_whole_set_splits_without_a_leak(real_set, tmp_path):
    report = convert(
        real_set("NEU-DET"),
        tmp_path / "out",
        from_format="voc",
        split=0.7,
        test=0.2,
        group="near-duplicates",
        quiet=True,
    )
    counts = report.near_duplicates
    # counted once; pairs at the threshold may fall on either side with another NumPy
    assert counts.pairs == pytest.approx(2179, abs=10)
    assert counts.images == pytest.approx(1414, abs=10)
    assert counts.leak.pairs_apart == 0
    assert counts.leak.leaked == {"val": 0, "test": 0}
    assert counts.leak_at_random.leaked["test"] == pytest.approx(242, abs=10)

    with (tmp_path / "out" / "near_duplicates.csv").open() as file:
        rows = list(csv.DictReader(file))
    # the set was never mirrored, so that a mirrored pair would be an error; classes hardly mix
    assert not [row for row in rows if row["mirrored"] == "1"]
    mixed = [row for row in rows if class_of(row["image"]) != class_of(row["other"])]
    assert len(mixed) <= 2
    # most pairs are neighbours in the numbering, which nothing in the search knows of
    near = [row for row in rows if abs(number_of(row["image"]) - number_of(row["other"])) <= 3]
    assert len(near) > 0.5 * len(rows)

    images = Counter(
        (path.parent.name, class_of(path.name)) for path in tmp_path.glob("out/images/*/*.jpg")
    )
    for split, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        for name in {name for _, name in images}:
            assert images[split, name] == pytest.approx(300 * share, abs=12)


def class_of(image: str) -> str:
    return image.rpartition("/")[2].rpartition("_")[0]


def number_of(image: str) -> int:
    return int(image.rpartition("_")[2].removesuffix(".jpg"))
