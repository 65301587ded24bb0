"""Read what matters of an image file: its size as displayed, its fingerprint, its health."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

# what every supported Ultralytics version loads without extra packages
LOADABLE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp"})
# images all the same: they are named in the report rather than passed over
OTHER_SUFFIXES = frozenset(
    {".avif", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".pbm", ".pgm", ".ppm"}
)
IMAGE_SUFFIXES = LOADABLE_SUFFIXES | OTHER_SUFFIXES

_LOADABLE_FORMATS = frozenset({"BMP", "JPEG", "MPO", "PNG", "TIFF", "WEBP"})
_MIN_SIDE_PX = 10
_ORIENTATION_TAG = 274
_JPEG_END = b"\xff\xd9"


class UnreadableImageError(Exception):
    """An image that Ultralytics would refuse; says why."""


@dataclass(frozen=True)
class ImageFacts:
    """What a data set has to know about an image file.

    Attributes:
        stored_size: Width and height as stored in the file.
        orientation: EXIF orientation, 1 if there is none.
        digest: SHA-256 of the bytes of the file.
        has_end: False for a JPEG with bytes missing or added behind its end mark.
    """

    stored_size: tuple[int, int]
    orientation: int
    digest: str
    has_end: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed and as Ultralytics loads it: EXIF orientation applied."""
        width, height = self.stored_size
        return (height, width) if self.is_turned else (width, height)

    @property
    def is_turned(self) -> bool:
        """Tell whether displaying the image swaps its width and height."""
        return self.orientation in (5, 6, 7, 8)


def inspect_image(path: Path) -> ImageFacts:
    """Read an image file and decode it to the end.

    Args:
        path: The file.

    Returns:
        Its facts.

    Raises:
        UnreadableImageError: If the file is missing, empty, damaged, cut short, in a format that
            Ultralytics does not load, or smaller than 10 pixels.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableImageError(f"cannot be read: {error.strerror}") from error
    if not content:
        raise UnreadableImageError("0 bytes")
    if path.suffix.lower() in OTHER_SUFFIXES:
        raise UnreadableImageError(f"{path.suffix} is not loaded by Ultralytics; convert it to PNG")
    facts, image_format = _decode(content)
    if image_format not in _LOADABLE_FORMATS:
        raise UnreadableImageError(f"{image_format} is not loaded by Ultralytics; convert to PNG")
    if min(facts.stored_size) < _MIN_SIDE_PX:
        width, height = facts.stored_size
        raise UnreadableImageError(f"{width}x{height} pixels; Ultralytics refuses less than 10")
    return facts


def _decode(content: bytes) -> tuple[ImageFacts, str]:
    """Decode the bytes of an image; return its facts and the name of its format."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                size, image_format = image.size, str(image.format)
                orientation = _orientation(image)
                # reads all of a JPEG but computes only an eighth of its rows
                image.draft(image.mode, (1, 1))
                image.load()
    # damaged bytes make the decoders of Pillow raise nearly anything
    except Exception as error:
        raise UnreadableImageError(f"cannot be decoded: {error}") from error
    has_end = image_format != "JPEG" or content.endswith(_JPEG_END)
    digest = hashlib.sha256(content).hexdigest()
    return ImageFacts(size, orientation, digest, has_end), image_format


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; what cannot be read means 1, upright, as in Ultralytics."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    # a damaged EXIF block makes Pillow raise nearly anything
    except Exception:
        return 1
    return int(value) if value in range(1, 9) else 1
