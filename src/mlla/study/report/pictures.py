"""The images on which arms disagree most, small enough to stand inside a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from PIL import Image, ImageOps

from mlla.study.report.box_matching import Box, match_boxes
from mlla.study.report.charts.canvas import text_width
from mlla.study.report.shown_path import shown_path

MAX_ROWS, MAX_SIDE_PX, QUALITY = 8, 480, 80
# letters in parts of the width of the image
_LETTERS = 0.042


@dataclass(frozen=True)
class DrawnBox:
    """A box to draw on the scaled image.

    Attributes:
        kind: "labelled", "hit", "false" or "missed".
        left: In pixels, as the others.
        top: Of the box.
        width: Of the box.
        height: Of the box.
        name: Class, and score of a detection.
    """

    kind: str
    left: float
    top: float
    width: float
    height: float
    name: str


@dataclass(frozen=True)
class Caption:
    """What stands at a box.

    Attributes:
        left: In pixels.
        bottom: Of the letters, in pixels.
        text: The words.
    """

    left: float
    bottom: float
    text: str


@dataclass(frozen=True)
class Panel:
    """One image with the boxes of one author.

    Attributes:
        title: Who drew them.
        summary: How many there are.
        boxes: The boxes.
        captions: Of those boxes that have room for one.
    """

    title: str
    summary: str
    boxes: list[DrawnBox]
    captions: list[Caption]


@dataclass(frozen=True)
class Picture:
    """One row of the strip.

    Attributes:
        title: What is seen.
        file: Path of the image.
        jpeg: The image as a data address, or None if it cannot be read.
        problem: Why not.
        width: Of the scaled image in pixels.
        height: Of the scaled image in pixels.
        letters: Size of the captions in pixels.
        panels: Labels, baseline and arm.
    """

    title: str
    file: str
    jpeg: str | None
    problem: str
    width: int
    height: int
    letters: float
    panels: list[Panel]


def draw_pictures(results: Mapping[str, Any], texts: Mapping[str, str]) -> list[Picture]:
    """Prepare the strip of images, those of all arms in turn.

    Args:
        results: Content of results.json.
        texts: Of the language.

    Returns:
        At most 8 rows.
    """
    by_arm: dict[str, list[Mapping[str, Any]]] = {}
    for entry in results["disagreements"]:
        by_arm.setdefault(entry["arm"], []).append(entry)
    in_turn = [
        entry for rank in zip_longest(*by_arm.values()) for entry in rank if entry is not None
    ]
    return [_picture(entry, results, texts) for entry in in_turn[:MAX_ROWS]]


def _picture(
    entry: Mapping[str, Any], results: Mapping[str, Any], texts: Mapping[str, str]
) -> Picture:
    """Scale one image and its boxes."""
    gain, name = entry["gain"], shown_path(entry["image"], results["data"]["yaml"])
    title = texts["gain" if gain > 0 else "loss"].format(
        arm=entry["arm"], gain=f"{abs(gain):.2g}", seed=entry["seed"]
    )
    try:
        jpeg, factor, (width, height) = _scaled(entry["image"])
    # a damaged file makes Pillow raise nearly anything, and a picture less is no reason to stop
    except Exception as error:
        why = str(getattr(error, "strerror", None) or error)
        problem = texts["no_image"].format(image=entry["image"], why=why)
        return Picture(title, name, None, problem, 0, 0, 0.0, [])
    labels = _drawn("labelled", entry["boxes"]["truth"], factor)
    summary = texts["objects"].format(objects=len(labels))
    panels = [Panel(texts["truth"], summary, labels, _captions(labels, width))]
    for arm, who in ((results["baseline"], "baseline"), (entry["arm"], "arm")):
        found = match_boxes(entry["boxes"]["truth"], entry["boxes"][who])
        summary = texts["found"].format(
            hits=len(found.hits), objects=len(labels), false=len(found.false)
        )
        parts = {"missed": found.missed, "hit": found.hits, "false": found.false}
        boxes = [box for kind, of in parts.items() for box in _drawn(kind, of, factor)]
        panels.append(Panel(arm, summary, boxes, _captions(boxes, width)))
    return Picture(title, name, jpeg, "", width, height, _LETTERS * width, panels)


def _scaled(file: str) -> tuple[str, float, tuple[int, int]]:
    """Return an image as the address of a small JPEG, the factor and the size."""
    with Image.open(file) as opened:
        # boxes are in pixels of the image as displayed
        image = ImageOps.exif_transpose(opened).convert("RGB")
    factor = min(1.0, MAX_SIDE_PX / max(image.size))
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    target = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(target, "JPEG", quality=QUALITY)
    text = base64.b64encode(target.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{text}", factor, size


def _drawn(kind: str, boxes: Sequence[Box], factor: float) -> list[DrawnBox]:
    """Scale boxes."""
    drawn = []
    for box in boxes:
        left, top, width, height = (round(float(side) * factor, 1) for side in box["bbox"])
        name = f"{box['name']} {box['score']:.2f}" if "score" in box else box["name"]
        drawn.append(DrawnBox(kind, left, top, width, height, name))
    return drawn


def _captions(boxes: Sequence[DrawnBox], image_width: float) -> list[Caption]:
    """Place captions above boxes, inside the image, and leave out those that would overlap."""
    letters = _LETTERS * image_width
    placed: list[tuple[float, float, float]] = []
    captions = []
    for box in boxes:
        if box.kind == "missed":
            continue
        # the class of a match is that of its label
        text = box.name.rpartition(" ")[2] if box.kind == "hit" else box.name
        length = text_width(text, letters)
        left = max(0.0, min(box.left, image_width - length))
        bottom = max(box.top - 0.25 * letters, letters)
        if all(
            left > other_left + other_length
            or other_left > left + length
            or abs(bottom - other_bottom) > letters
            for other_left, other_bottom, other_length in placed
        ):
            placed.append((left, bottom, length))
            captions.append(Caption(round(left, 1), round(bottom, 1), text))
    return captions
