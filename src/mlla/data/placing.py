"""Decide where every image goes: its split and its file name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mlla.data.errors import DataError
from mlla.data.images import ImageFacts
from mlla.data.report import Kind, Problem
from mlla.data.source import Sample


@dataclass
class Placed:
    """One image on its way into the new layout.

    Attributes:
        sample: The image and its shapes.
        facts: What the image file really is.
        split: `train`, `val` or `test`, once assigned.
        file_name: Name to write it under, once assigned.
    """

    sample: Sample
    facts: ImageFacts
    split: str = ""
    file_name: str = ""


def assign_splits(
    items: Sequence[Placed], share: float, seed: int, problems: list[Problem]
) -> list[Placed]:
    """Keep the splits of the source if it has train and val; else split all but test at random.

    The order of a random split is that of a hash of seed and image, so it depends neither on
    names nor on the other images.

    Args:
        items: All usable images.
        share: Share of the images for training in a random split.
        seed: Another seed gives another random split.
        problems: Receives images without a split where others have one.

    Returns:
        The images that have a split now.

    Raises:
        DataError: If there are too few different images for a random split.
    """
    given = {item.sample.split for item in items}
    keep = {"train", "val"} <= given
    pool: dict[str, list[Placed]] = defaultdict(list)
    assigned = []
    for item in items:
        if keep and item.sample.split is None:
            detail = "other images have a split, this one has none"
            problems.append(
                Problem(Kind.IN_NO_SPLIT, item.sample.image, "", detail, "image left out")
            )
            continue
        assigned.append(item)
        if keep or item.sample.split == "test":
            item.split = str(item.sample.split)
        else:
            pool[item.facts.digest].append(item)
    if not keep:
        _split_at_random(pool, share, seed)
    return assigned


def _split_at_random(pool: dict[str, list[Placed]], share: float, seed: int) -> None:
    """Deal groups of identical images out to train and val; each gets one group at least."""
    if len(pool) < 2:
        raise DataError(
            f"{len(pool)} different image(s) cannot be split into train and val; two are needed"
        )
    order = sorted(pool, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
    wanted = round(share * sum(len(group) for group in pool.values()))
    num_train = 0
    for position, digest in enumerate(order):
        is_first, is_last = position == 0, position == len(order) - 1
        to_train = is_first or (num_train < wanted and not is_last)
        for item in pool[digest]:
            item.split = "train" if to_train else "val"
        num_train += len(pool[digest]) if to_train else 0


def name_files(items: Sequence[Placed], problems: list[Problem]) -> None:
    """Give every image a file name whose stem is its own within the split.

    Stems count, not names, as 1.jpg and 1.png would share a label file; case does not count, as
    some file systems ignore it.

    Args:
        items: Images with their splits.
        problems: Receives the images that had to be renamed.
    """
    taken: set[tuple[str, str]] = set()
    for item in items:
        path = PurePosixPath(item.sample.image)
        folders = path.parts[:-1]
        stem, number = path.stem, 1
        while (item.split, stem.casefold()) in taken:
            stem = "_".join([*folders, path.stem, *([str(number)] if number > 1 else [])])
            number += 1
        taken.add((item.split, stem.casefold()))
        item.file_name = stem + path.suffix
        if stem != path.stem:
            detail = f"another image in {item.split} is called {path.stem}"
            action = f"written as {item.file_name}"
            problems.append(Problem(Kind.RENAMED, item.sample.image, "", detail, action))
