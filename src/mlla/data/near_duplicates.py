"""Find near-duplicates: images that show the same piece of the world once more.

Copies that were recompressed, brightened, shifted, turned or mirrored are found, and so are pieces
cut from one photograph that overlap. Two images are compared by phase correlation: with the
amplitude of every frequency made equal, noise and texture are left, and they fit together at one
shift if they are the same pixels, but at no shift if they are merely alike. That is why two
scratches of one kind are told apart from one scratch seen twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from tqdm import tqdm

Array: TypeAlias = npt.NDArray[np.float32]
Spectrum: TypeAlias = npt.NDArray[np.complex64]

# a pair must pass at the first size to be looked at in the second, which decides
COARSE_SIDE_PX, COARSE_THRESHOLD = 64, 0.09
FINE_SIDE_PX, FINE_THRESHOLD = 128, 0.12
# quarter turns, mirrored or not
ORIENTATIONS = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))

# share of the side over which the window rises; without it the edges correlate
_EDGE = 0.1
# in standard deviations; without it the few bright details of two plain images correlate
_CLIP = 2.0
# in cycles per side: light and shade below, the grid of JPEG and resampling above
_LOWEST_FREQUENCY, _HIGHEST_FREQUENCY = 3.0, 45.0
# pairs at a time, so that they fit into the processor's cache
_BLOCK = 16


@dataclass(frozen=True, order=True)
class NearDuplicate:
    """Two images that show the same.

    Attributes:
        first: Key of one image.
        second: Key of the other one.
        similarity: Peak of their phase correlation, 0 to 1: about the share of the detail that is
            the same. Unrelated images stay below 0.11.
        quarter_turns: How often the first has to be turned left by 90 degrees to fit the second.
        mirrored: Whether it is mirrored left to right after that.
    """

    first: str
    second: str
    similarity: float
    quarter_turns: int
    mirrored: bool


def find_near_duplicates(
    paths: Mapping[str, Path], quiet: bool = False, *, threshold: float = FINE_THRESHOLD
) -> list[NearDuplicate]:
    """Compare every image with every other one, in eight orientations.

    Time grows with the square of the number of images: some five minutes of one core for 1,800, and
    by that two and a half hours for 10,000. Zoomed copies and pieces that overlap by less than a
    third or so are not found.

    Args:
        paths: Readable image files by a key that is independent of their order, such as a digest.
        quiet: Show no progress bar.
        threshold: Least similarity of a pair.

    Returns:
        The pairs in the order of their keys, which also order the two images of a pair.
    """
    keys = sorted(paths)
    hide = True if quiet else None
    thumbnails = [_thumbnail(paths[key]) for key in tqdm(keys, desc="loading", disable=hide)]
    searcher = _Searcher(thumbnails, threshold)
    found = []
    # the transforms of NumPy let other threads run
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        rows = pool.map(searcher.partners, range(len(keys)))
        for first, partners in enumerate(tqdm(rows, "comparing", len(keys), disable=hide)):
            for second, similarity, (quarters, mirrored) in partners:
                pair = (keys[first], keys[second])
                found.append(NearDuplicate(*pair, round(similarity, 4), quarters, mirrored))
    finally:
        # Ctrl-C need not wait for the rows that have not begun
        pool.shutdown(cancel_futures=True)
    return found


class _Searcher:
    """Holds what the comparison of every row of pairs needs.

    Args:
        thumbnails: All images as squares of `FINE_SIDE_PX`.
        threshold: Least similarity of a pair.
    """

    def __init__(self, thumbnails: list[Array], threshold: float) -> None:
        self.thumbnails = thumbnails
        self.threshold = threshold
        self.coarse = [_half_size(thumbnail) for thumbnail in thumbnails]
        shape = (len(thumbnails), COARSE_SIDE_PX, COARSE_SIDE_PX // 2 + 1)
        self.conjugates: Spectrum = np.empty(shape, np.complex64)
        for index, image in enumerate(self.coarse):
            self.conjugates[index] = _white_spectrum(image).conj()

    def partners(self, row: int) -> list[tuple[int, float, tuple[int, bool]]]:
        """Return the near-duplicates of one image among those behind it, with their fit."""
        best: dict[int, tuple[float, tuple[int, bool]]] = {}
        for orientation in ORIENTATIONS:
            for other in self._candidates(row, orientation):
                similarity = self._similarity(row, other, orientation)
                if similarity >= self.threshold and similarity > best.get(other, (0.0,))[0]:
                    best[other] = (similarity, orientation)
        return [(other, *best[other]) for other in sorted(best)]

    def _candidates(self, row: int, orientation: tuple[int, bool]) -> Iterator[int]:
        """Yield the images behind one that may fit it, at the coarse size."""
        spectrum = _white_spectrum(_oriented(self.coarse[row], orientation))
        for start in range(row + 1, len(self.conjugates), _BLOCK):
            peaks = _peaks(spectrum, self.conjugates[start : start + _BLOCK], COARSE_SIDE_PX)
            yield from (start + int(offset) for offset in np.flatnonzero(peaks >= COARSE_THRESHOLD))

    def _similarity(self, row: int, other: int, orientation: tuple[int, bool]) -> float:
        """Return the peak of the phase correlation of two images at the fine size."""
        spectrum = _white_spectrum(_oriented(self.thumbnails[row], orientation))
        partner = _white_spectrum(self.thumbnails[other]).conj()
        return float(_peaks(spectrum, partner[None], FINE_SIDE_PX)[0])


def _thumbnail(path: Path) -> Array:
    """Load an image as displayed, in grey, squeezed into a square of the fine size."""
    with Image.open(path) as image:
        # a photograph need not be decoded in full
        image.draft("L", (2 * FINE_SIDE_PX, 2 * FINE_SIDE_PX))
        upright = ImageOps.exif_transpose(image)
        # by way of L, 16 bits would be clipped to 8
        grey = upright if upright.mode[0] in "IF" else upright.convert("L")
        size = (FINE_SIDE_PX, FINE_SIDE_PX)
        return np.asarray(grey.convert("F").resize(size, Image.Resampling.BOX), np.float32)


def _half_size(image: Array) -> Array:
    """Average squares of four pixels."""
    half = len(image) // 2
    return image.reshape(half, 2, half, 2).mean((1, 3))


def _oriented(image: Array, orientation: tuple[int, bool]) -> Array:
    """Turn an image left by quarters and mirror it."""
    quarters, mirrored = orientation
    turned = np.rot90(image, quarters)
    return turned[:, ::-1] if mirrored else turned


@cache
def _window(side: int) -> Array:
    """Return weights that fall to zero towards the edges, as the transform joins opposite ones."""
    distance = np.minimum(np.arange(side) + 0.5, side - np.arange(side) - 0.5) / (_EDGE * side)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(distance, 1))
    return np.outer(rise, rise).astype(np.float32)


@cache
def _band(side: int) -> Array:
    """Return the weight of every frequency of a real transform."""
    radius = side * np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    high = np.exp(-((radius / _HIGHEST_FREQUENCY) ** 2))
    return (high * (1 - np.exp(-((radius / _LOWEST_FREQUENCY) ** 2)))).astype(np.float32)


def _white_spectrum(image: Array) -> Spectrum:
    """Transform an image and make all amplitudes of the band equal, with a sum of squares of 1.

    An image without any detail has a spectrum of zeros, which is like nothing else.
    """
    spectrum = np.fft.rfft2((image - image.mean()) * _window(len(image)))
    amplitude = np.abs(spectrum)
    floor = 1e-3 * amplitude.mean()
    if floor == 0:
        return np.zeros(spectrum.shape, np.complex64)
    white = np.fft.irfft2(spectrum / (amplitude + floor) * _band(len(image)), s=image.shape)
    limit = _CLIP * white.std()
    detail = np.clip(white, -limit, limit)
    return (np.fft.rfft2(detail) / np.sqrt(np.square(detail).sum())).astype(np.complex64)


def _peaks(spectrum: Spectrum, conjugates: Spectrum, side: int) -> Array:
    """Return the highest correlation over all shifts of one image with each of several."""
    return np.fft.irfft2(spectrum * conjugates, s=(side, side)).max((1, 2)).astype(np.float32)
