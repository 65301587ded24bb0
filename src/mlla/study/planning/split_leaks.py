"""Images of two splits that show the same, so that a score on one of them is too good."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.data.leaks import link_images
from mlla.data.near_duplicates import find_near_duplicates

# of one core, measured: five minutes for 1,800 images
_SECONDS_PER_PAIR = 300 / (1800 * 1799 / 2)
_WORTH_A_WORD_S = 60
_NUM_EXAMPLES = 5


@dataclass(frozen=True)
class SplitLeaks:
    """What splits separate that belongs together.

    Attributes:
        identical: Pairs of identical images in two splits.
        near_duplicates: Pairs that show the same without being identical; None if not searched for.
        test_images_touched: Images of the scored split with such a partner in another one.
        examples: A few of the pairs.
    """

    identical: int
    near_duplicates: int | None
    test_images_touched: int
    examples: tuple[tuple[Path, Path], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what the plan stores."""
        return {
            "identical": self.identical,
            "near_duplicates": self.near_duplicates,
            "test_images_touched": self.test_images_touched,
            "examples": [[str(one), str(other)] for one, other in self.examples],
        }


def find_pairs(digests: Mapping[Path, str], *, quiet: bool = False) -> list[tuple[str, str]]:
    """Search for near-duplicates; say before how long it takes, if that is long.

    Args:
        digests: Digest of every image.
        quiet: Show no progress.

    Returns:
        Digests of the images of each pair.
    """
    paths = {digest: image for image, digest in digests.items()}
    seconds = _SECONDS_PER_PAIR * len(paths) * (len(paths) - 1) / 2 / (os.cpu_count() or 1)
    if seconds > _WORTH_A_WORD_S and not quiet:
        print(
            f"mlla: searching {len(paths)} images for near-duplicates, about "
            f"{seconds / 60:.0f} minutes, once for this study; near_duplicates=False leaves it out",
            file=sys.stderr,
            flush=True,
        )
    return [(pair.first, pair.second) for pair in find_near_duplicates(paths, quiet)]


def find_leaks(
    lists: Mapping[str, Sequence[Path]],
    digests: Mapping[Path, str],
    pairs: Sequence[tuple[str, str]] | None,
) -> SplitLeaks:
    """Count the pairs of images that stand in two splits and show the same.

    Args:
        lists: Images of each split; "test" is scored, or "val" where it is missing.
        digests: Digest of every image.
        pairs: Digests of near-duplicates; None if they were not searched for.

    Returns:
        The counts.
    """
    scored = "test" if "test" in lists else "val"
    places = [(split, image) for split, images in lists.items() for image in images]
    keys = [digests[image] for _, image in places]
    apart = [
        (one, other)
        for one, other in link_images(keys, pairs or [])
        if places[one][0] != places[other][0]
    ]
    identical = sum(keys[one] == keys[other] for one, other in apart)
    touched = {place for link in apart for place in link if places[place][0] == scored}
    # those that reach the scored images first
    apart.sort(key=lambda link: not touched.intersection(link))
    return SplitLeaks(
        identical=identical,
        near_duplicates=None if pairs is None else len(apart) - identical,
        test_images_touched=len(touched),
        examples=tuple((places[one][1], places[other][1]) for one, other in apart[:_NUM_EXAMPLES]),
    )
