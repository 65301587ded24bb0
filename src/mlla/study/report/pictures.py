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

MAX_ROWS, MAX_SIDE_PX, QUALITY = 8, 480, 80
# boxes are named where the names of so few can be told apart
MAX_NAMED_BOXES = 8


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
class Panel:
    """One image with the boxes of one author.

    Attributes:
        title: Who drew them.
        summary: How many there are.
        boxes: The boxes.
        is_named: Whether there is room for names.
    """

    title: str
    summary: str
    boxes: list[DrawnBox]
    is_named: bool


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
        panels: Labels, baseline and arm.
    """

    title: str
    file: str
    jpeg: str | None
    problem: str
    width: int
    height: int
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
    return [_picture(entry, results["baseline"], texts) for entry in in_turn[:MAX_ROWS]]


def _picture(entry: Mapping[str, Any], baseline: str, texts: Mapping[str, str]) -> Picture:
    """Scale one image and its boxes."""
    gain = entry["gain"]
    title = texts["gain" if gain > 0 else "loss"].format(
        arm=entry["arm"], gain=f"{abs(gain):.3g}", seed=entry["seed"]
    )
    try:
        jpeg, factor, (width, height) = _scaled(entry["image"])
    # a damaged file makes Pillow raise nearly anything, and a picture less is no reason to stop
    except Exception as error:
        why = str(getattr(error, "strerror", None) or error)
        problem = texts["no_image"].format(image=entry["image"], why=why)
        return Picture(title, entry["image"], None, problem, 0, 0, [])
    boxes = entry["boxes"]
    labels = boxes["truth"]
    panels = [
        Panel(
            texts["truth"],
            texts["objects"].format(objects=len(labels)),
            _drawn("labelled", labels, factor),
            len(labels) <= MAX_NAMED_BOXES,
        )
    ]
    for name, who in ((baseline, "baseline"), (entry["arm"], "arm")):
        found = match_boxes(labels, boxes[who])
        summary = texts["found"].format(
            hits=len(found.hits), objects=len(labels), false=len(found.false)
        )
        drawn = [
            *_drawn("missed", found.missed, factor),
            *_drawn("hit", found.hits, factor),
            *_drawn("false", found.false, factor),
        ]
        panels.append(Panel(name, summary, drawn, len(drawn) <= MAX_NAMED_BOXES))
    return Picture(title, entry["image"], jpeg, "", width, height, panels)


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
