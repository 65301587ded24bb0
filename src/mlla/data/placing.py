"""Decide where every image goes: its split and its file name."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from mlla.data.grouped_split import deal_groups, require_enough
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
    items: Sequence[Placed],
    shares: Mapping[str, float],
    seed: int,
    problems: list[Problem],
    groups: Mapping[str, str] | None = None,
) -> list[Placed]:
    """Keep the splits of the source if it has train and val; else split all but test.

    Args:
        items: All usable images.
        shares: Share of the images for every split where the source has none; together 1. If the
            source has test images, these are the test split and its share goes to val.
        seed: Another seed gives another split.
        problems: Receives images without a split where others have one.
        groups: Group of every digest; groups stay together and classes are balanced. Without it
            the split is random and only identical images stay together.

    Returns:
        The images that have a split now.

    Raises:
        DataError: If there are too few different images or groups.
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
        if "test" in given:
            shares = {"train": shares["train"], "val": 1 - shares["train"]}
        if groups is None:
            sizes = {digest: len(copies) for digest, copies in pool.items()}
            splits = split_at_random(sizes, shares, seed)
        else:
            splits = _split_groups(pool, groups, shares, seed)
        for digest, copies in pool.items():
            for item in copies:
                item.split = splits[digest]
    return assigned


def split_at_random(
    sizes: Mapping[str, int], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal different images out at random; every split gets one at least.

    The order is that of a hash of seed and image, so it depends neither on names nor on the other
    images.

    Args:
        sizes: For the digest of every image the number of its identical copies.
        shares: Share of the images for every split; together 1.
        seed: Another seed gives another order.

    Returns:
        The split of every digest.

    Raises:
        DataError: If there are fewer images than splits.
    """
    require_enough(len(sizes), "different image(s)", shares)
    order = sorted(sizes, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
    num_images = sum(sizes.values())
    splits, dealt = list(shares), {}
    current = num_in_split = 0
    for position, digest in enumerate(order):
        is_full = num_in_split >= round(shares[splits[current]] * num_images)
        num_left, num_waiting = len(order) - position, len(splits) - current - 1
        if num_waiting and num_in_split and (is_full or num_left == num_waiting):
            current, num_in_split = current + 1, 0
        dealt[digest] = splits[current]
        num_in_split += sizes[digest]
    return dealt


def _split_groups(
    pool: Mapping[str, Sequence[Placed]],
    groups: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Deal groups of digests out; return the split of every digest."""
    classes: dict[str, list[set[str]]] = defaultdict(list)
    for digest, copies in pool.items():
        for item in copies:
            classes[groups[digest]].append({shape.name for shape in item.sample.shapes})
    split_of_group = deal_groups(classes, shares, seed)
    return {digest: split_of_group[groups[digest]] for digest in pool}


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
