"""Turn the shapes of one image into label lines, one object at a time."""

from __future__ import annotations

from collections.abc import Sequence

from mlla.data.images import ImageFacts
from mlla.data.layout import label_line
from mlla.data.report import Kind, Problem
from mlla.data.shapes import (
    BadShapeError,
    Shape,
    centre_size_from_edges,
    clip_shape,
    turn_edges,
)
from mlla.data.source import Sample


def clean_shapes(
    sample: Sample,
    facts: ImageFacts,
    names: Sequence[str],
    in_pixels: bool,
    problems: list[Problem],
) -> list[tuple[int, str]]:
    """Normalise, clip and check every shape of one image.

    Args:
        sample: The image and its shapes.
        facts: What the image file really is.
        names: Class names in the order of their ids.
        in_pixels: Whether the numbers of the shapes are pixels.
        problems: Receives whatever is wrong.

    Returns:
        Class id and label line of every shape that is left.
    """
    must_turn = _compare_sizes(sample, facts, problems)
    kept: list[tuple[int, Shape]] = []
    for shape in sample.shapes:
        try:
            if shape.name not in names:
                raise BadShapeError(Kind.UNKNOWN_CLASS, f"{shape.name!r} is none of the classes")
            whole = _normalise(shape, facts, must_turn) if in_pixels else shape
            clipped, was_cut = clip_shape(whole)
        except BadShapeError as error:
            detail, action = str(error), "box dropped"
            problems.append(Problem(error.kind, sample.annotation, shape.where, detail, action))
            continue
        if was_cut:
            kind, detail, action = Kind.PARTLY_OUTSIDE, _describe(whole), "clipped to 0..1"
            problems.append(Problem(kind, sample.annotation, shape.where, detail, action))
        kept.append((names.index(shape.name), clipped))
    return _without_repeats(sample, _lines(sample, kept, problems), problems)


def _describe(shape: Shape) -> str:
    """Say where a normalised shape lies."""
    if shape.is_box:
        return "edges " + ", ".join(f"{number:.4f}" for number in shape.numbers)
    return "some points lie outside 0..1"


def _compare_sizes(sample: Sample, facts: ImageFacts, problems: list[Problem]) -> bool:
    """Report a stated size that is not that of the image; tell whether boxes must be turned.

    Some annotation tools ignore the EXIF orientation and let the user draw on a lying image.
    The size they state gives it away.
    """
    if sample.stated_size in (None, facts.size):
        return False
    stated = "{}x{}".format(*(sample.stated_size or ()))
    detail = f"{stated} is stated, the image has {facts.size[0]}x{facts.size[1]}"
    if facts.is_turned and sample.stated_size == facts.stored_size:
        action = f"boxes turned along with the image (EXIF orientation {facts.orientation})"
        problems.append(Problem(Kind.TURNED, sample.image, "", detail, action))
        return True
    action = "boxes taken as pixels of the image"
    problems.append(Problem(Kind.SIZE_MISMATCH, sample.image, "", detail, action))
    return False


def _normalise(shape: Shape, facts: ImageFacts, must_turn: bool) -> Shape:
    """Turn a box in pixels into one that is 0..1 inside the displayed image."""
    left, top, right, bottom = shape.numbers
    if must_turn:
        edges = (left, top, right, bottom)
        left, top, right, bottom = turn_edges(edges, facts.orientation, *facts.stored_size)
    width, height = facts.size
    return Shape(
        shape.where, shape.name, (left / width, top / height, right / width, bottom / height)
    )


def _lines(
    sample: Sample, kept: Sequence[tuple[int, Shape]], problems: list[Problem]
) -> list[tuple[int, Shape, str]]:
    """Format label lines; Ultralytics refuses files that mix boxes and polygons."""
    is_mixed = len({shape.is_box for _, shape in kept}) == 2
    if is_mixed:
        action = "boxes written as polygons of four points"
        detail = "Ultralytics drops an image whose labels mix both"
        problems.append(Problem(Kind.MIXED_SHAPES, sample.annotation, "", detail, action))
    lines = []
    for class_id, shape in kept:
        numbers = shape.numbers
        if shape.is_box:
            left, top, right, bottom = shape.numbers
            numbers = centre_size_from_edges((left, top, right, bottom))
            if is_mixed:
                numbers = (left, top, right, top, right, bottom, left, bottom)
        lines.append((class_id, shape, label_line(class_id, numbers)))
    return lines


def _without_repeats(
    sample: Sample, lines: Sequence[tuple[int, Shape, str]], problems: list[Problem]
) -> list[tuple[int, str]]:
    """Drop lines that are there already."""
    first_by_line: dict[str, str] = {}
    unique = []
    for class_id, shape, line in lines:
        if line in first_by_line:
            kind, detail = Kind.DUPLICATE_BOX, f"{shape.name}, the same as {first_by_line[line]}"
            problems.append(Problem(kind, sample.annotation, shape.where, detail, "box dropped"))
            continue
        first_by_line[line] = shape.where
        unique.append((class_id, line))
    return unique
