"""Which detections hit, image by image: all that average precision needs to know of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Matches:
    """The matched detections of one run on one set of images, in the protocol of COCO.

    Detections are ordered by class and, within a class, from the highest score down; equal scores
    stay in the order of the images.

    Attributes:
        first: Where the detections of each class begin, and at the end their number.
        image: Index of the image of each detection.
        score: Score of each detection.
        hit: Whether a detection matched an object, at each IoU threshold.
        ignored: Whether a detection does not count, at each IoU threshold.
        objects: Number of objects that count, by class and image.
    """

    first: Int[np.ndarray, " boundaries"]
    image: Int[np.ndarray, " D"]
    score: Float[np.ndarray, " D"]
    hit: Bool[np.ndarray, "T D"]
    ignored: Bool[np.ndarray, "T D"]
    objects: Int[np.ndarray, "K I"]

    @property
    def num_images(self) -> int:
        """Number of images."""
        return self.objects.shape[1]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was detected on any image."""
        return len(self.score) == 0

    def scores(self, copies: Int[np.ndarray, "R I"]) -> Float[np.ndarray, " R"]:
        """Return mean average precision on resamples, each a number of copies of every image."""
        # that module computes from matches
        from mlla.study.scoring.average_precision import average_precision, mean_average_precision

        return mean_average_precision(average_precision(self, copies))

    def has_images_of(self, other: Matches) -> bool:
        """Return whether both were matched with the same objects on the same images."""
        return np.array_equal(self.objects, other.objects)

    def equals(self, other: Matches) -> bool:
        """Return whether both hold the same detections with the same scores."""
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in vars(self))


def matches_from_evaluation(
    evaluated: Iterable[dict[str, Any] | None],
    *,
    image_ids: list[int],
    class_ids: list[int],
    num_thresholds: int,
) -> Matches:
    """Collect what an evaluator of COCO matched.

    Args:
        evaluated: Its `evalImgs`, one area range and one limit of detections only.
        image_ids: Ids of all images, in the order of the evaluator.
        class_ids: Ids of all classes.
        num_thresholds: Number of IoU thresholds.

    Returns:
        The matches.
    """
    image_of = {identifier: index for index, identifier in enumerate(image_ids)}
    objects = np.zeros((len(class_ids), len(image_ids)), dtype=np.int64)
    found: dict[int, list[dict[str, Any]]] = {identifier: [] for identifier in class_ids}
    for entry in evaluated:
        if entry is not None:
            found[entry["category_id"]].append(entry)
    first, images, scores = [0], [], []
    hits: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for row, identifier in enumerate(class_ids):
        entries = sorted(found[identifier], key=lambda entry: image_of[entry["image_id"]])
        for entry in entries:
            counted = ~np.asarray(entry["gtIgnore"], dtype=bool)
            objects[row, image_of[entry["image_id"]]] = counted.sum()
        entries = [entry for entry in entries if entry["dtScores"]]
        score = np.concatenate([np.empty(0), *(entry["dtScores"] for entry in entries)])
        order = np.argsort(-score, kind="stable")
        image = [np.full(len(e["dtScores"]), image_of[e["image_id"]]) for e in entries]
        images.append(np.concatenate([np.empty(0, dtype=np.int64), *image])[order])
        scores.append(score[order])
        for collected, key in ((hits, "dtMatches"), (ignored, "dtIgnore")):
            parts = [np.asarray(entry[key]) != 0 for entry in entries]
            empty = np.empty((num_thresholds, 0), dtype=bool)
            collected.append(np.concatenate([empty, *parts], axis=1)[:, order])
        first.append(first[-1] + len(score))
    return Matches(
        np.asarray(first),
        np.concatenate(images),
        np.concatenate(scores),
        np.concatenate(hits, axis=1),
        np.concatenate(ignored, axis=1),
        objects,
    )
