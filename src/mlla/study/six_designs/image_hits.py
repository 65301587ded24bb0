"""Which images a run named right: all that a comparison of classifiers needs to know of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class ImageHits:
    """The images of a split and whether the most probable class is theirs.

    Attributes:
        hits: Whether, by image.
        images_sha256: Over the names and the classes of the images.
        answers_sha256: Over all logits.
    """

    hits: Bool[np.ndarray, " I"]
    images_sha256: str
    answers_sha256: str

    @property
    def num_images(self) -> int:
        """Number of images."""
        return len(self.hits)

    @property
    def is_empty(self) -> bool:
        """Whether no image was named right."""
        return not self.hits.any()

    def scores(self, copies: Int[np.ndarray, "R I"]) -> Float[np.ndarray, " R"]:
        """Return the top-1 accuracy, from 0 to 1, on resamples."""
        return (copies @ self.hits.astype(np.int64)) / copies.sum(axis=1)

    def has_images_of(self, other: ImageHits) -> bool:
        """Return whether both are of the same images with the same classes."""
        return self.images_sha256 == other.images_sha256

    def equals(self, other: ImageHits) -> bool:
        """Return whether both runs said the same to every image."""
        return self.has_images_of(other) and self.answers_sha256 == other.answers_sha256


def read_hits(predictions: Path) -> ImageHits:
    """Read what `mlla.classification` writes of a split that it scored.

    Args:
        predictions: The file predictions.npz.
    """
    with np.load(predictions) as content:
        names, targets, logits = (content[key] for key in ("images", "targets", "logits"))
    shown = "\n".join(f"{name} {target}" for name, target in zip(names, targets, strict=True))
    return ImageHits(
        # the first of equal ones, as `score` decides
        logits.argmax(axis=1) == targets,
        hashlib.sha256(shown.encode()).hexdigest(),
        hashlib.sha256(np.ascontiguousarray(logits).tobytes()).hexdigest(),
    )
