"""Split a data set so that near-duplicates stay on one side, and say what that avoided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlla.data.grouped_split import join_groups
from mlla.data.leaks import Link, NearDuplicateCounts, link_images, measure_leak
from mlla.data.near_duplicates import NearDuplicate, find_near_duplicates
from mlla.data.placing import Placed, assign_splits
from mlla.data.report import Kind, Problem


@dataclass(frozen=True)
class Together:
    """The outcome of a split that keeps near-duplicates together.

    Attributes:
        items: The images that have a split.
        counts: What was found and what the split separates.
        pairs: The near-duplicates, by digest.
    """

    items: list[Placed]
    counts: NearDuplicateCounts
    pairs: list[NearDuplicate]

    def table(self) -> str:
        """Return all pairs as CSV, identical images included."""
        by_digests = {(pair.first, pair.second): pair for pair in self.pairs}
        rows = ["image,split,other,other_split,similarity,quarter_turns,mirrored"]
        for one, other in (
            (self.items[one], self.items[other]) for one, other in _links(self.items, self.pairs)
        ):
            if one.facts.digest > other.facts.digest:
                one, other = other, one
            pair = by_digests.get((one.facts.digest, other.facts.digest))
            fit = f"{pair.similarity:.4f},{pair.quarter_turns},{int(pair.mirrored)}" if pair else ""
            names = (f'"{item.sample.image}",{item.split}' for item in (one, other))
            rows.append(f"{','.join(names)},{fit or '1.0000,0,0'}")
        return "\n".join(rows) + "\n"


def split_together(
    items: Sequence[Placed],
    shares: Mapping[str, float],
    seed: int,
    problems: list[Problem],
    quiet: bool,
) -> Together:
    """Find near-duplicates and assign splits that separate none, unless the source does.

    Args:
        items: All usable images.
        shares: Share of the images for every split where the source has none.
        seed: Another seed gives another split.
        problems: Receives images without a split, and near-duplicates that the source separates.
        quiet: Show no progress bar.

    Raises:
        DataError: If there are too few groups for the splits.
    """
    pairs = find_near_duplicates({item.facts.digest: item.sample.path for item in items}, quiet)
    digests = {item.facts.digest for item in items}
    groups = join_groups(digests, [(pair.first, pair.second) for pair in pairs])

    at_random = assign_splits(items, shares, seed, [])
    links = _links(at_random, pairs)
    leak_at_random = measure_leak(links, [item.split for item in at_random])

    assigned = assign_splits(items, shares, seed, problems, groups)
    leak = measure_leak(links, [item.split for item in assigned])
    _report_apart(assigned, links, problems)

    sizes = Counter(groups[item.facts.digest] for item in assigned)
    has_own_splits = {"train", "val"} <= {item.sample.split for item in assigned}
    counts = NearDuplicateCounts(
        pairs=len(links),
        images=len({position for link in links for position in link}),
        groups=sum(size > 1 for size in sizes.values()),
        largest_group=max(sizes.values()),
        leak=leak,
        leak_at_random=None if has_own_splits else leak_at_random,
    )
    return Together(assigned, counts, pairs)


def _links(items: Sequence[Placed], pairs: Sequence[NearDuplicate]) -> list[Link]:
    """Return the positions of all images that belong together."""
    digests = [item.facts.digest for item in items]
    return link_images(digests, [(pair.first, pair.second) for pair in pairs])


def _report_apart(items: Sequence[Placed], links: Sequence[Link], problems: list[Problem]) -> None:
    """Name near-duplicates that the splits of the source separate."""
    for one, other in ((items[one], items[other]) for one, other in links):
        if one.split != other.split and one.facts.digest != other.facts.digest:
            detail = f"in {other.split}, shows the same as {one.sample.image} in {one.split}"
            action = "kept, as the source has it so; remove one of them"
            kind = Kind.NEAR_DUPLICATES_APART
            problems.append(Problem(kind, other.sample.image, "", detail, action))
