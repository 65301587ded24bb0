"""What a comparison needs to know of a run: its score on any choice of images."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from numpy import ndarray
from typing_extensions import Self


class Evidence(Protocol):
    """What one run found on every image of a set."""

    @property
    def num_images(self) -> int:
        """Number of images."""

    @property
    def is_empty(self) -> bool:
        """Whether the run found nothing at all on any image."""

    def scores(self, copies: Int[ndarray, "R I"]) -> Float[ndarray, " R"]:
        """Return the score on resamples, which say how often each image occurs."""

    def has_images_of(self, other: Self) -> bool:
        """Return whether both were scored on the same images and labels."""

    def equals(self, other: Self) -> bool:
        """Return whether both runs found the same."""
