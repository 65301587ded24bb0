"""Which drawn boxes agree with the labels of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MIN_OVERLAP = 0.5

Box = Mapping[str, Any]


@dataclass(frozen=True)
class MatchedBoxes:
    """The detections on one image beside its labels.

    Attributes:
        hits: Detections that match a label.
        false: Detections that match none.
        missed: Labels that no detection matches.
    """

    hits: list[Box]
    false: list[Box]
    missed: list[Box]


def match_boxes(labels: Sequence[Box], detections: Sequence[Box]) -> MatchedBoxes:
    """Give each detection, the surest first, the free label of its class that it overlaps most.

    Args:
        labels: "name" and "bbox" (x, y, width, height) of each.
        detections: The same with "score".

    Returns:
        All of them, sorted out; an overlap (IoU) below 0.5 is no match.
    """
    free, hits, false = list(labels), [], []
    for detection in sorted(detections, key=lambda box: -box["score"]):
        same_class = [label for label in free if label["name"] == detection["name"]]
        best = max(
            same_class, key=lambda label: _overlap(label["bbox"], detection["bbox"]), default=None
        )
        if best is not None and _overlap(best["bbox"], detection["bbox"]) >= MIN_OVERLAP:
            # by identity: the same object may have been labelled twice
            free = [label for label in free if label is not best]
            hits.append(detection)
        else:
            false.append(detection)
    return MatchedBoxes(hits, false, free)


def _overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return intersection over union."""
    sides = [
        min(first[axis] + first[axis + 2], second[axis] + second[axis + 2])
        - max(first[axis], second[axis])
        for axis in (0, 1)
    ]
    if min(sides) <= 0:
        return 0.0
    shared = sides[0] * sides[1]
    return shared / (first[2] * first[3] + second[2] * second[3] - shared)
