"""Deal groups of images that belong together out to splits, classes in equal shares."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence

from mlla.data.errors import DataError


def join_groups(keys: Iterable[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join keys that are linked by pairs, directly or through others.

    Args:
        keys: All keys.
        pairs: Links between two keys.

    Returns:
        For every key the smallest key of its group, which names the group.
    """
    parent = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return {key: root(key) for key in parent}


def deal_groups(
    groups: Mapping[str, Sequence[Iterable[Hashable]]], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal groups out so that every split gets its share of the images of each class.

    Groups come in an order that the seed decides; each goes to the split that is least full of
    what the group holds. A split is never left empty.

    Args:
        groups: For every group the classes on each of its images.
        shares: Share of the images for every split; together 1.
        seed: Another seed gives another order.

    Returns:
        The split of every group.

    Raises:
        DataError: If there are fewer groups than splits.
    """
    require_enough(len(groups), "group(s) of images that belong together", shares)
    contents = {name: _count(images) for name, images in groups.items()}
    total = sum(contents.values(), Counter[Hashable]())
    held: dict[str, Counter[Hashable]] = {split: Counter() for split in shares}
    order = sorted(groups, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    dealt = {}
    for position, name in enumerate(order):
        content = contents[name]
        empty = [split for split in shares if not held[split]]
        must_fill = len(order) - position == len(empty)
        fullness: dict[str, float] = defaultdict(float)
        for split in empty if must_fill else shares:
            for key, number in content.items():
                wanted = shares[split] * total[key]
                fullness[split] += number * (held[split][key] + number) / wanted
        split = min(fullness, key=lambda split: fullness[split])
        held[split].update(content)
        dealt[name] = split
    return dealt


def require_enough(number: int, what: str, splits: Collection[str]) -> None:
    """Refuse to split less than one of something for every split.

    Args:
        number: How many there are.
        what: What they are, for the message.
        splits: Names of the splits.

    Raises:
        DataError: If there are too few.
    """
    if number < len(splits):
        *others, last = splits
        needed = {2: "two", 3: "three"}[len(splits)]
        raise DataError(
            f"{number} {what} cannot be split into {', '.join(others)} and {last}; {needed} are "
            "needed"
        )


def _count(images: Sequence[Iterable[Hashable]]) -> Counter[Hashable]:
    """Count images, under None, and the images with each class."""
    counts: Counter[Hashable] = Counter({None: len(images)})
    for classes in images:
        counts.update(set(classes))
    return counts
