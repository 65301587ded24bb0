"""Read COCO detection annotations: one or more JSON files, images beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from mlla.data.errors import DataError
from mlla.data.files import ImageIndex, list_files, only_images, split_of
from mlla.data.report import Kind, Problem
from mlla.data.shapes import BadShapeError, Shape, edges_from_corner_size, finite_numbers
from mlla.data.source import Sample, Source, best_image, new_sample

_KEYS = ("images", "annotations", "categories")


def read_coco(root: Path, images_root: Path) -> Source:
    """Read a data set in COCO format.

    Of several JSON files those called instances* are read, or else all that hold boxes. Their
    splits are kept if their names or folders say train and val. Segmentations are not read.

    Args:
        root: A JSON file, or a folder with JSON files at any depth.
        images_root: Folder with the images at any depth.

    Returns:
        The data set, class names in the order of category ids, numbers in pixels.

    Raises:
        DataError: If there is no COCO detection file.
    """
    files = {root.name: root} if root.is_file() else list_files(root)
    images = only_images(list_files(images_root))
    index = ImageIndex(images)
    problems: list[Problem] = []
    samples: dict[str, Sample] = {}
    ids_and_names: set[tuple[int, str]] = set()
    known_images: set[str] = set()
    for name, content in _load_all(files, root, problems).items():
        categories = _read_categories(content["categories"], name, problems)
        ids_and_names.update(categories.items())
        by_id = _read_images(content["images"], name, index, images, samples, problems)
        known_images.update(sample.image for sample in by_id.values() if sample)
        _read_annotations(content["annotations"], name, categories, by_id, problems)
    for image in images:
        if image not in known_images:
            detail = "no COCO file lists it"
            problems.append(Problem(Kind.IN_NO_SPLIT, image, "", detail, "image left out"))
    names = list(dict.fromkeys(category for _, category in sorted(ids_and_names)))
    complete = [samples[image] for image in sorted(samples)]
    if not {"train", "val"} <= {sample.split for sample in complete}:
        for sample in complete:
            sample.split = "test" if sample.split == "test" else None
    return Source(complete, names, problems, in_pixels=True)


def _load_all(
    files: Mapping[str, Path], root: Path, problems: list[Problem]
) -> dict[str, dict[str, list[Any]]]:
    """Load the JSON files that hold COCO detection annotations.

    Raises:
        DataError: If there is none.
    """
    candidates = [name for name in files if PurePosixPath(name).suffix.lower() == ".json"]
    instances = [name for name in candidates if PurePosixPath(name).stem.startswith("instances")]
    loaded = {}
    for name in instances or candidates:
        try:
            content = json.loads(files[name].read_bytes())
        except ValueError as error:
            problems.append(
                Problem(Kind.UNREADABLE_ANNOTATION, name, "", str(error), "file dropped")
            )
            continue
        missing = [
            key
            for key in _KEYS
            if not (isinstance(content, dict) and isinstance(content.get(key), list))
        ]
        if missing:
            detail = f"no COCO detection file: no list {', '.join(missing)}"
            problems.append(Problem(Kind.FILE_IGNORED, name, "", detail, "passed over"))
        else:
            loaded[name] = content
    if not loaded:
        reasons = "; ".join(f"{problem.file}: {problem.detail}" for problem in problems[:3])
        raise DataError(
            f"no COCO detection file in {root}: a JSON object with the lists images, annotations "
            f"and categories is needed{f' ({reasons})' if reasons else ''}; check --from"
        )
    return loaded


def _read_categories(entries: list[Any], name: str, problems: list[Problem]) -> dict[int, str]:
    """Return the class name of each category id."""
    categories = {}
    for number, entry in enumerate(entries):
        try:
            categories[int(entry["id"])] = str(entry["name"]).strip()
        except (KeyError, TypeError, ValueError):
            where, detail = f"categories[{number}]", f"{entry!r} has no id and name"
            problems.append(Problem(Kind.BAD_OBJECT, name, where, detail, "category dropped"))
    return categories


def _read_images(
    entries: list[Any],
    name: str,
    index: ImageIndex,
    images: Mapping[str, Path],
    samples: dict[str, Sample],
    problems: list[Problem],
) -> dict[object, Sample | None]:
    """Add a sample for every entry of `images`; return it by image id, None if it was dropped."""
    by_id: dict[object, Sample | None] = {}
    for number, entry in enumerate(entries):
        where = f"images[{number}]"
        try:
            image_id, file_name = str(entry["id"]), str(entry["file_name"])
        except (KeyError, TypeError):
            detail = f"{entry!r:.80} has no id and file_name"
            problems.append(Problem(Kind.BAD_OBJECT, name, where, detail, "entry dropped"))
            continue
        image = best_image(index, file_name, name, where, problems)
        sample = new_sample(samples, images, image, name, problems) if image else None
        by_id[image_id] = sample
        if sample:
            sample.split = split_of(name)
            width, height = entry.get("width"), entry.get("height")
            if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
                sample.stated_size = (width, height)
    return by_id


def _read_annotations(
    entries: list[Any],
    name: str,
    categories: Mapping[int, str],
    by_id: Mapping[object, Sample | None],
    problems: list[Problem],
) -> None:
    """Add every entry of `annotations` to its sample; those of a dropped image are passed over."""
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            where, detail = f"annotations[{number}]", f"{entry!r:.80} is no object"
            problems.append(Problem(Kind.BAD_OBJECT, name, where, detail, "annotation dropped"))
            continue
        where = f"annotation id {entry['id']}" if "id" in entry else f"annotations[{number}]"
        image_id = str(entry.get("image_id"))
        if image_id not in by_id:
            kind, detail = Kind.ANNOTATION_WITHOUT_IMAGE, f"no image has the id {image_id}"
            problems.append(Problem(kind, name, where, detail, "annotation dropped"))
            continue
        sample = by_id[image_id]
        if sample is None:
            continue
        try:
            sample.shapes.append(_read_box(entry, where, categories))
        except BadShapeError as error:
            detail = f"{error} ({sample.image})"
            problems.append(Problem(error.kind, name, where, detail, "box dropped"))


def _read_box(entry: Mapping[str, Any], where: str, categories: Mapping[int, str]) -> Shape:
    """Read one annotation.

    Raises:
        BadShapeError: If it is a crowd, its category is unknown or its box is wrong.
    """
    if entry.get("iscrowd"):
        raise BadShapeError(Kind.CROWD, "iscrowd marks a region, not one object")
    category_id = entry.get("category_id")
    if not isinstance(category_id, (int, float)) or category_id not in categories:
        raise BadShapeError(Kind.UNKNOWN_CLASS, f"no category has the id {category_id!r}")
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4:
        raise BadShapeError(Kind.BAD_OBJECT, f"bbox is {box!r:.80}, not four numbers")
    left, top, width, height = finite_numbers(box)
    if width <= 0 or height <= 0:
        raise BadShapeError(Kind.ZERO_AREA, f"width {width:g}, height {height:g} enclose nothing")
    return Shape(
        where, categories[int(category_id)], edges_from_corner_size(left, top, width, height)
    )
