"""Data sets of masks or polygons turned into COCO."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml
from PIL import Image

from mlla.data import DataError
from mlla.data.files import ImageIndex, list_files, only_images, split_of
from mlla.data.images import UnreadableImageError, inspect_image
from mlla.data.shapes import BadShapeError
from mlla.data.yolo_labels import UnreadableLabelsError, parse_label_line, read_label_lines
from mlla.instance_segmentation.coco_writer import Converted, ImageToWrite, write_coco
from mlla.instance_segmentation.run_lengths import encode_masks, outline_facts


def convert_masks(
    source: str | Path,
    destination: str | Path,
    *,
    class_name: str = "nucleus",
    split: float = 0.8,
    seed: int = 0,
) -> Converted:
    """Convert a data set with one mask image for each object, as the Data Science Bowl 2018 has.

    Args:
        source: Folder with, at any depth, folders of one image each: the image in images/, its
            objects in masks/, where a pixel other than 0 belongs to the object.
        destination: Folder to create.
        class_name: What the objects are.
        split: Share of the images to train on.
        seed: Another seed gives another random split.

    Returns:
        What was written.

    Raises:
        DataError: If there is no such folder, or as `write_coco`.
    """
    files = list_files(Path(source))
    problems: list[str] = []
    images = []
    for name, path in only_images(files).items():
        if path.parent.name != "images":
            continue
        masks = path.parent.parent / "masks"
        if masks.is_dir() and (found := _open_image(name, path, problems)):
            found.objects = _objects_of_masks(masks, found, problems)
            images.append(found)
    if not images:
        raise DataError(f"{source} has no folder with images/ and masks/")
    return write_coco(destination, images, {1: class_name}, problems, split=split, seed=seed)


def convert_polygons(
    source: str | Path,
    destination: str | Path,
    *,
    images: str | Path | None = None,
    split: float = 0.8,
    seed: int = 0,
) -> Converted:
    """Convert a data set of YOLO polygons; images without a label file are left out.

    Args:
        source: Folder with labels/ at any depth and one YAML file that holds `names`, a list or a
            mapping from any ids.
        destination: Folder to create.
        images: Folder with the images where they are not inside `source`.
        split: Share of the images to train on where folders do not say.
        seed: Another seed gives another random split.

    Returns:
        What was written.

    Raises:
        DataError: If names or labels are missing, or as `write_coco`.
    """
    files = list_files(Path(source))
    classes = _read_names(files, Path(source))
    paths = only_images(files if images is None else list_files(Path(images)))
    index = ImageIndex(paths)
    problems: list[str] = []
    converted, labelled = [], set()
    for name, path in files.items():
        if path.suffix != ".txt" or "labels" not in PurePosixPath(name).parts[:-1]:
            continue
        found = index.find(path.stem, name)
        if len(found) != 1:
            problems.append(f"{name}: {len(found)} images of this name; left out")
            continue
        labelled.add(found[0])
        if image := _open_image(found[0], paths[found[0]], problems):
            image.split = split_of(name)
            image.objects = _objects_of_labels(name, path, image, classes, problems)
            converted.append(image)
    if not converted:
        raise DataError(
            f"{source} has no label file below labels/ whose image is there; if the images are "
            "elsewhere, name their folder with images="
        )
    problems += [f"{name}: no label file; left out" for name in paths if name not in labelled]
    return write_coco(destination, converted, classes, problems, split=split, seed=seed)


def _open_image(name: str, path: Path, problems: list[str]) -> ImageToWrite | None:
    try:
        facts = inspect_image(path)
    except UnreadableImageError as error:
        problems.append(f"{name}: {error}; left out")
        return None
    if facts.orientation != 1:
        problems.append(f"{name}: turned by its EXIF data; left out")
        return None
    return ImageToWrite(path, *facts.stored_size)


def _objects_of_masks(
    folder: Path, image: ImageToWrite, problems: list[str]
) -> list[dict[str, Any]]:
    objects = []
    for path in sorted(only_images(list_files(folder)).values()):
        with Image.open(path) as mask:
            inside = np.array(mask.convert("L")) > 0
        where = os.fspath(path.relative_to(folder.parent.parent))
        if inside.shape != (image.height, image.width):
            problems.append(f"{where}: of another size than its image; left out")
        elif not inside.any():
            problems.append(f"{where}: no pixel; left out")
        else:
            (runs,) = encode_masks(inside[None])
            rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
            left, top = int(columns[0]), int(rows[0])
            box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
            shape = {"bbox": box, "area": int(inside.sum()), "segmentation": runs}
            objects.append({"category_id": 1, **shape})
    return objects


def _objects_of_labels(
    name: str, path: Path, image: ImageToWrite, classes: Mapping[int, str], problems: list[str]
) -> list[dict[str, Any]]:
    try:
        lines = read_label_lines(path)
    except UnreadableLabelsError as error:
        problems.append(f"{name}: {error}; its objects left out")
        return []
    objects = []
    for number, line in lines:
        try:
            category, numbers = parse_label_line(line)
        except BadShapeError as error:
            problems.append(f"{name}, line {number}: {error}; left out")
            continue
        scaled = np.array(numbers).reshape(-1, 2).clip(0, 1) * (image.width, image.height)
        facts = outline_facts(scaled, image.height, image.width)
        if category not in classes:
            problems.append(f"{name}, line {number}: class {category} has no name; left out")
        elif len(numbers) == 4:
            problems.append(f"{name}, line {number}: a box, not a polygon; left out")
        elif facts["area"] == 0:
            problems.append(f"{name}, line {number}: encloses no pixel; left out")
        else:
            objects.append({"category_id": category, **facts})
    return objects


def _read_names(files: Mapping[str, Path], source: Path) -> dict[int, str]:
    for name, path in files.items():
        if "/" in name or path.suffix not in (".yaml", ".yml"):
            continue
        content = yaml.safe_load(path.read_bytes())
        names = content.get("names") if isinstance(content, dict) else None
        if isinstance(names, list) and names:
            return dict(enumerate(map(str, names)))
        if isinstance(names, dict) and names and all(isinstance(key, int) for key in names):
            return {key: str(value) for key, value in names.items()}
    raise DataError(f"{source} has no YAML file with the names of the classes at its top")
