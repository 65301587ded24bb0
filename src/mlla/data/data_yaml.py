"""Read a data.yaml the way Ultralytics does: class names, and where the images of a split are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlla.data.errors import DataError
from mlla.data.files import list_files, only_images
from mlla.data.layout import SPLITS
from mlla.data.report import Kind, Problem
from mlla.data.yolo import names_from_yaml


@dataclass(frozen=True)
class DataYaml:
    """What a data.yaml says.

    Attributes:
        root: Folder that relative entries start from.
        names: Class names in the order of their ids.
        places: Folders, image files or lists of images for each split.
    """

    root: Path
    names: tuple[str, ...]
    places: dict[str, list[Path]]


def read_data_yaml(
    path: Path, problems: list[Problem], datasets_folder: Path | None = None
) -> DataYaml:
    """Read a data.yaml and find the places it names.

    Args:
        path: The file.
        problems: Receives what is suspicious but not fatal.
        datasets_folder: Where a relative `path` is looked up first.

    Returns:
        Its content; every place exists.

    Raises:
        DataError: If Ultralytics could not use the file: it is missing or no mapping, `train`,
            `val` or `names` is missing or wrong, or a place does not exist.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give the data.yaml inside it")
    if not path.is_file():
        raise DataError(f"{path} does not exist; give the data.yaml of a data set")
    try:
        content = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no keys; train, val and names are needed")
    missing = [key for key in ("train", "val") if not content.get(key)]
    if missing:
        raise DataError(f"{path} lacks {' and '.join(missing)}: add the folder of their images")
    root = _find_root(content, path, problems, datasets_folder)
    places = {
        split: _find_places(content[split], root, path, split)
        for split in SPLITS
        if content.get(split)
    }
    return DataYaml(root, _read_names(content, path), places)


def list_split_images(places: list[Path]) -> list[Path]:
    """List the images of one split: those in folders, single files, and those in text lists."""
    images: list[Path] = []
    for place in places:
        if place.is_dir():
            images += only_images(list_files(place)).values()
        elif place.suffix.lower() == ".txt":
            for line in place.read_text(encoding="utf-8-sig").split("\n"):
                if entry := line.strip():
                    local = entry.startswith("./")
                    images.append(place.parent / entry[2:] if local else Path(entry))
        else:
            images.append(place)
    return sorted(images)


def label_path(image: Path) -> Path:
    """Return where Ultralytics looks for the labels: the last folder images becomes labels."""
    head, found, tail = str(image).rpartition(f"{os.sep}images{os.sep}")
    return Path(f"{head}{os.sep}labels{os.sep}{tail}" if found else tail).with_suffix(".txt")


def _find_root(
    content: dict[str, Any], path: Path, problems: list[Problem], datasets_folder: Path | None
) -> Path:
    """Return the folder that the entries of the file are relative to."""
    value = content.get("path")
    if not value:
        return path.resolve().parent
    root = Path(str(value))
    if root.is_absolute():
        return root
    if datasets_folder is not None and (datasets_folder / root).is_dir():
        return (datasets_folder / root).resolve()
    if not root.is_dir():
        raise DataError(
            f"path in {path} is {str(value)!r}, which does not exist here; Ultralytics looks "
            "relative paths up in its own folder of data sets. Remove the line `path:` to mean "
            "the folder of the file"
        )
    detail = f"path is {str(value)!r}, relative"
    action = "found from this working folder only; remove the line to mean the folder of the file"
    problems.append(Problem(Kind.PATH_DEPENDS, path.name, "path", detail, action))
    return root.resolve()


def _find_places(value: object, root: Path, path: Path, split: str) -> list[Path]:
    """Resolve the entries of one split."""
    places = []
    for entry in value if isinstance(value, list) else [value]:
        place = (root / str(entry)).resolve()
        # Ultralytics forgives the ../ that some exporters write too much
        if not place.exists() and str(entry).startswith("../"):
            place = (root / str(entry)[3:]).resolve()
        if not place.exists():
            remedy = "set `path:` to the absolute folder of the data set"
            if root != path.resolve().parent:
                remedy += ", or remove that line to mean the folder of the file"
            raise DataError(
                f"{split} in {path} is {str(entry)!r}, but {place} does not exist: {remedy}"
            )
        places.append(place)
    return places


def _read_names(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the class names; nc alone gives class_0, class_1 and so on, as in Ultralytics."""
    count = content.get("nc")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise DataError(f"nc in {path} is {count!r}; it must be the number of classes")
    if content.get("names") is None and count:
        return tuple(f"class_{index}" for index in range(count))
    names = tuple(names_from_yaml(content.get("names"), path))
    if count is not None and count != len(names):
        raise DataError(f"nc in {path} is {count}, but there are {len(names)} names; remove nc")
    return names
