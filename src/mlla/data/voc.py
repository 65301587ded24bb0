"""Read Pascal VOC: one XML file per image, with or without ImageSets lists."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath

from mlla.data.errors import DataError
from mlla.data.files import ImageIndex, list_files, only_images
from mlla.data.report import Kind, Problem
from mlla.data.shapes import BadShapeError, Shape, edges_from_voc, finite_numbers
from mlla.data.source import (
    Sample,
    Source,
    best_image,
    new_sample,
    set_splits_by_folder,
    with_backgrounds,
)
from mlla.data.split_lists import apply_split_lists, find_split_lists

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(root: Path, images_root: Path) -> Source:
    """Read a data set in VOC format.

    An XML file belongs to the image of the same stem, or else to its <filename>. Objects marked
    difficult or truncated are read like all others.

    Args:
        root: Folder with XML files at any depth.
        images_root: Folder with the images at any depth.

    Returns:
        The data set, class names sorted, numbers in pixels.

    Raises:
        DataError: If there is no VOC annotation.
    """
    files = list_files(root)
    images = only_images(list_files(images_root))
    index = ImageIndex(images)
    problems: list[Problem] = []
    samples: dict[str, Sample] = {}
    unknown: set[str] = set()
    num_annotations = 0
    for name, path in files.items():
        if path.suffix.lower() != ".xml":
            continue
        try:
            tree = _parse_xml(path)
        except (ET.ParseError, ValueError, LookupError) as error:
            action = "its image is left out, as what it shows is not known"
            problems.append(Problem(Kind.UNREADABLE_ANNOTATION, name, "", str(error), action))
            unknown.update(index.find(PurePosixPath(name).stem, name)[:1])
            continue
        if tree.tag != "annotation":
            detail = f"<{tree.tag}> is not a VOC <annotation>"
            problems.append(Problem(Kind.FILE_IGNORED, name, "", detail, "passed over"))
            continue
        num_annotations += 1
        image = _find_image(index, tree, name, problems)
        sample = new_sample(samples, images, image, name, problems) if image else None
        if sample:
            sample.stated_size = _stated_size(tree)
            sample.shapes = _read_objects(tree, name, problems)
    if not num_annotations:
        raise DataError(f"no VOC annotation (*.xml with <annotation>) in {root}; check --from")
    complete = with_backgrounds(samples, images, unknown, problems)
    set_splits_by_folder(complete)
    for base, lists in find_split_lists(files, "ImageSets/Main").items():
        complete = apply_split_lists(complete, base, lists, problems)
    names = sorted({shape.name for sample in complete for shape in sample.shapes})
    return Source(complete, names, problems, in_pixels=True)


def _parse_xml(path: Path) -> ET.Element:
    """Parse an XML file in any encoding that Python knows.

    Raises:
        ParseError: If it is not well-formed.
        ValueError: If it is not in the encoding that it declares.
        LookupError: If that encoding is unknown.
    """
    content = path.read_bytes()
    declared = re.match(rb"\s*<\?xml[^>]*encoding=[\"']([\w.-]+)", content)
    # expat itself refuses GBK and other encodings of several bytes
    return ET.fromstring(content.decode(declared[1].decode()) if declared else content)


def _find_image(
    index: ImageIndex, tree: ET.Element, name: str, problems: list[Problem]
) -> str | None:
    """Find the image by the stem of the XML file, or else by what is in <filename>."""
    stem = PurePosixPath(name).stem
    file_name = (tree.findtext("filename") or "").strip()
    by_stem = bool(index.find(stem, name)) or not index.find(file_name, name)
    return best_image(index, stem if by_stem else file_name, name, "", problems)


def _stated_size(tree: ET.Element) -> tuple[int, int] | None:
    """Read <size>, None if it is missing, not a number or not positive."""
    try:
        width = int(float(tree.findtext("size/width") or 0))
        height = int(float(tree.findtext("size/height") or 0))
    except (ValueError, OverflowError):
        return None
    return (width, height) if width > 0 and height > 0 else None


def _read_objects(tree: ET.Element, name: str, problems: list[Problem]) -> list[Shape]:
    """Read every <object>; those that cannot be read are reported."""
    shapes = []
    for number, element in enumerate(tree.findall("object"), start=1):
        where = f"object {number}"
        try:
            shapes.append(_read_object(element, where))
        except BadShapeError as error:
            problems.append(Problem(error.kind, name, where, str(error), "box dropped"))
    return shapes


def _read_object(element: ET.Element, where: str) -> Shape:
    """Read one <object>.

    Raises:
        BadShapeError: If its name or its box is missing or wrong.
    """
    class_name = (element.findtext("name") or "").strip()
    if not class_name:
        raise BadShapeError(Kind.BAD_OBJECT, "<name> is missing")
    texts = [element.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    missing = [corner for corner, text in zip(_CORNERS, texts, strict=True) if text is None]
    if missing:
        raise BadShapeError(Kind.BAD_OBJECT, f"<bndbox> lacks {', '.join(missing)}")
    return Shape(where, class_name, edges_from_voc(*finite_numbers(texts)))
