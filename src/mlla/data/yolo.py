"""Read YOLO text labels: images/ and labels/ in any of the usual arrangements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import yaml

from mlla.data.errors import DataError
from mlla.data.files import list_files, only_images
from mlla.data.report import Kind, Problem
from mlla.data.shapes import BadShapeError, Shape, edges_from_centre_size
from mlla.data.source import Sample, Source, new_sample, set_splits_by_folder, with_backgrounds
from mlla.data.split_lists import LIST_NAMES, apply_split_lists, find_split_lists
from mlla.data.yolo_labels import UnreadableLabelsError, parse_label_line, read_label_lines

_NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt")
_PAIRED_FOLDERS = frozenset({"images", "labels"})


def read_yolo(root: Path, images_root: Path, classes: Sequence[str] | None = None) -> Source:
    """Read a data set in YOLO format.

    An image and its label file have the same path apart from the suffix and from folders called
    images or labels: images/train/1.jpg and labels/train/1.txt, or train/images/1.jpg and
    train/labels/1.txt, or both in one folder.

    Args:
        root: Folder with label files at any depth.
        images_root: Folder with the images at any depth.
        classes: Class names by id, for a source that has neither data.yaml nor classes.txt.

    Returns:
        The data set, numbers normalised.

    Raises:
        DataError: If there is no label file, or the names of the classes cannot be read.
    """
    files = list_files(root)
    images = only_images(list_files(images_root))
    image_by_key: dict[str, str] = {}
    for image in images:
        image_by_key.setdefault(_pair_key(image), image)
    labels = _find_labels(files)
    if not labels:
        raise DataError(f"no label file (*.txt) in {root}; check --from")
    names = _read_names(files) or list(classes or ())
    problems: list[Problem] = []
    samples: dict[str, Sample] = {}
    unknown: set[str] = set()
    for name in labels:
        match = image_by_key.get(_pair_key(name))
        if match is None:
            kind, detail = Kind.ANNOTATION_WITHOUT_IMAGE, "no image of the same name"
            problems.append(Problem(kind, name, "", detail, "label file dropped"))
            continue
        try:
            lines = read_label_lines(files[name])
        except UnreadableLabelsError as error:
            action = "its image is left out, as what it shows is not known"
            problems.append(Problem(Kind.UNREADABLE_ANNOTATION, name, "", str(error), action))
            unknown.add(match)
            continue
        sample = new_sample(samples, images, match, name, problems)
        if sample:
            sample.shapes = _read_shapes(lines, name, names, problems)
    complete = with_backgrounds(samples, images, unknown, problems)
    set_splits_by_folder(complete)
    if not any(sample.split for sample in complete):
        for base, lists in find_split_lists(files, "").items():
            complete = apply_split_lists(complete, base, lists, problems)
    if not names:
        names = _numbered_names(complete)
    return Source(complete, names, problems, in_pixels=False)


def _pair_key(name: str) -> str:
    """Return what an image and its label file have in common."""
    path = PurePosixPath(name)
    folders = [part for part in path.parts[:-1] if part.lower() not in _PAIRED_FOLDERS]
    return "/".join([*folders, path.stem])


def _find_labels(files: Mapping[str, Path]) -> list[str]:
    """Tell label files from other texts; where there are labels folders, only these count."""
    texts = [
        path
        for path in map(PurePosixPath, files)
        if path.suffix.lower() == ".txt" and path.name not in _NAME_FILES
    ]
    in_folder = [path for path in texts if "labels" in path.parts[:-1]]
    if in_folder:
        return [path.as_posix() for path in in_folder]
    return [
        path.as_posix()
        for path in texts
        if path.stem not in LIST_NAMES and not path.stem.upper().startswith("README")
    ]


def _read_names(files: Mapping[str, Path]) -> list[str]:
    """Read class names from a YAML file of the top folder or from a list of names.

    Raises:
        DataError: If the file that should hold them cannot be read.
    """
    for name in sorted(files, key=lambda name: (name != "data.yaml", name)):
        if "/" not in name and PurePosixPath(name).suffix in (".yaml", ".yml"):
            try:
                content = yaml.safe_load(files[name].read_bytes())
            except yaml.YAMLError as error:
                raise DataError(f"{files[name]} is not valid YAML: {error}") from error
            if isinstance(content, dict) and content.get("names"):
                return names_from_yaml(content["names"], files[name])
    for name in sorted(files, key=lambda name: (name.count("/"), name)):
        if PurePosixPath(name).name in _NAME_FILES:
            text = files[name].read_text(encoding="utf-8-sig", errors="replace")
            return [line.strip() for line in text.splitlines() if line.strip()]
    return []


def names_from_yaml(value: object, path: Path) -> list[str]:
    """Read the `names` of a data.yaml, a list or a mapping from 0, 1, 2 and so on.

    Args:
        value: What stands under `names`.
        path: The file, for the message.

    Returns:
        Class names in the order of their ids.

    Raises:
        DataError: If it is neither, is empty, or ids are missing.
    """
    if isinstance(value, dict):
        ids = {str(key): str(name) for key, name in value.items()}
        ordered = [ids.get(str(index)) for index in range(len(ids))]
        if ordered and None not in ordered:
            return [str(name) for name in ordered]
    elif isinstance(value, list) and value:
        return [str(name) for name in value]
    raise DataError(
        f"names in {path} is {value!r:.200}; it must be a list, or a mapping with the ids 0, 1, "
        "2 and so on without a gap"
    )


def _read_shapes(
    lines: Sequence[tuple[int, str]], name: str, names: Sequence[str], problems: list[Problem]
) -> list[Shape]:
    """Read the lines of one label file; those that cannot be read are reported."""
    shapes = []
    for number, line in lines:
        where = f"line {number}"
        try:
            class_id, numbers = parse_label_line(line)
            if names and class_id >= len(names):
                detail = f"class {class_id}, but the names end at {len(names) - 1}"
                raise BadShapeError(Kind.UNKNOWN_CLASS, detail)
        except BadShapeError as error:
            problems.append(Problem(error.kind, name, where, str(error), "line dropped"))
            continue
        if len(numbers) == 4:
            numbers = edges_from_centre_size(*numbers)
        shapes.append(Shape(where, names[class_id] if names else f"class_{class_id}", numbers))
    return shapes


def _numbered_names(samples: Sequence[Sample]) -> list[str]:
    """Name the classes class_0 up to the highest that occurs."""
    ids = [int(shape.name.removeprefix("class_")) for s in samples for shape in s.shapes]
    return [f"class_{index}" for index in range(max(ids, default=-1) + 1)]
