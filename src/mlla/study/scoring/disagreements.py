"""The images where two arms differ most in what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from mlla.study.scoring.matches import Matches

# what prediction shows by default
CONFIDENCE = 0.25
NUM_IMAGES = 4


def objects_found(matches: Matches) -> Float[np.ndarray, " I"]:
    """Count the objects of each image that a run found, at IoU 0.5 and a score of 0.25 or more."""
    counted = matches.hit[0] & ~matches.ignored[0] & (matches.score >= CONFIDENCE)
    found = np.bincount(matches.image[counted], minlength=matches.objects.shape[1])
    return found.astype(np.float64)


def disagreements(
    baseline: Mapping[int, Matches], arm: Mapping[int, Matches], *, num_images: int = NUM_IMAGES
) -> list[dict[str, Any]]:
    """Find the images where an arm finds more or fewer objects than the baseline.

    Args:
        baseline: Matches of its runs by seed.
        arm: Matches of the runs of the arm, with a seed in common.
        num_images: How many images to name at most.

    Returns:
        For each image, the largest disagreement first: "index", its number; "gain", how many
        objects more the arm finds, the mean over seeds; "objects", how many there are; "seed", the
        run whose own gain is nearest to that mean, to be shown.
    """
    seeds = sorted(set(baseline) & set(arm))
    gains = np.stack([objects_found(arm[s]) - objects_found(baseline[s]) for s in seeds])
    mean = gains.mean(axis=0)
    order = [int(index) for index in np.argsort(-np.abs(mean), kind="stable") if mean[index]]
    objects = arm[seeds[0]].objects.sum(axis=0)
    return [
        {
            "index": index,
            "gain": float(mean[index]),
            "objects": int(objects[index]),
            "seed": seeds[int(np.abs(gains[:, index] - mean[index]).argmin())],
        }
        for index in order[:num_images]
    ]


def boxes_of(
    entries: Sequence[Mapping[str, Any]], index: int, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the boxes of one image to draw.

    Args:
        entries: Annotations or predictions in the format of COCO.
        index: Number of the image.
        names: Class names by category.

    Returns:
        "name", "bbox" (x, y, width, height in pixels) and, of predictions of 0.25 or more, "score".
    """
    return [
        {
            "name": names[entry["category_id"]],
            "bbox": list(entry["bbox"]),
            **({"score": entry["score"]} if "score" in entry else {}),
        }
        for entry in entries
        if entry["image_id"] == index and entry.get("score", 1.0) >= CONFIDENCE
    ]
