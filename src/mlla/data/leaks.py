"""Count the images of a split whose near-duplicates are in training: the leak."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

Link = tuple[int, int]


@dataclass(frozen=True)
class Leak:
    """What a split separates that belongs together.

    Attributes:
        pairs_apart: Pairs of near-duplicates in two splits.
        leaked: For every split but train the images with a near-duplicate in train.
        images: For every split but train all its images.
    """

    pairs_apart: int
    leaked: dict[str, int]
    images: dict[str, int]


@dataclass(frozen=True)
class NearDuplicateCounts:
    """What the search for near-duplicates found.

    Attributes:
        pairs: Pairs of near-duplicates, identical images included.
        images: Images in at least one pair.
        groups: Groups of images linked by pairs, directly or through others.
        largest_group: Images in the largest of them.
        leak: What the split separates.
        leak_at_random: What the random split of the same seed and shares would separate; None if
            the source has splits of its own.
    """

    pairs: int
    images: int
    groups: int
    largest_group: int
    leak: Leak
    leak_at_random: Leak | None

    def lines(self) -> list[str]:
        """Return a few lines for a terminal."""
        columns = [("this split", self.leak)]
        if self.leak_at_random:
            columns.append(("random split", self.leak_at_random))
        rows = [("pairs in two splits", [str(leak.pairs_apart) for _, leak in columns])]
        for split in self.leak.images:
            cells = [f"{leak.leaked[split]} of {leak.images[split]}" for _, leak in columns]
            rows.append((f"{split} images with one in train", cells))
        found = (
            f"Near-duplicates: {self.pairs} pairs among {self.images} images, in {self.groups} "
            f"groups, the largest of {self.largest_group}"
        )
        header = " " * 30 + "".join(f"{name:>14}" for name, _ in columns)
        body = [
            f"  {label:<28}" + "".join(f"{cell:>14}" for cell in cells) for label, cells in rows
        ]
        return [found, header, *body]


def link_images(digests: Sequence[str], pairs: Iterable[tuple[str, str]]) -> list[Link]:
    """Return which images belong together, as positions.

    Args:
        digests: Digest of every image; identical images have the same one.
        pairs: Digests of near-duplicates.

    Returns:
        Pairs of positions, the smaller one first, in order.
    """
    positions: dict[str, list[int]] = defaultdict(list)
    for position, digest in enumerate(digests):
        positions[digest].append(position)
    links = [link for same in positions.values() for link in combinations(same, 2)]
    for first, second in pairs:
        links += [
            (min(link), max(link))
            for link in ((one, other) for one in positions[first] for other in positions[second])
        ]
    return sorted(links)


def measure_leak(links: Sequence[Link], splits: Sequence[str]) -> Leak:
    """Count what a split separates.

    Args:
        links: Pairs of positions that belong together.
        splits: The split of every position.
    """
    leaked: dict[str, set[int]] = {split: set() for split in splits if split != "train"}
    num_apart = 0
    for link in links:
        num_apart += splits[link[0]] != splits[link[1]]
        for one, other in (link, link[::-1]):
            if splits[one] != "train" and splits[other] == "train":
                leaked[splits[one]].add(one)
    sizes = Counter(splits)
    order = [split for split in ("val", "test") if split in leaked]
    return Leak(
        pairs_apart=num_apart,
        leaked={split: len(leaked[split]) for split in order},
        images={split: sizes[split] for split in order},
    )
