"""One split of a COCO data set: which images, and which objects are on them."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlla.data import DataError
from mlla.data.files import ImageIndex, list_files, only_images, split_of

_KEYS = ("images", "annotations", "categories")
_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class CocoImage:
    """One image of a split.

    Args:
        number: Its id in the file.
        path: Where it is.
        width: In pixels, as the file says.
        height: In pixels, as the file says.
        objects: Its annotations as JSON; as Python objects those of a large data set would be
            copied into the memory of every worker that reads them.
    """

    number: int
    path: Path
    width: int
    height: int
    objects: bytes


@dataclass(frozen=True)
class CocoSplit:
    """The images of a split and the classes.

    Args:
        file: The JSON file.
        images: In the order of their ids.
        classes: Names of the classes by id, in the order of their ids.
        left_out: Images without an object to learn from that `to_learn_from` left out.
    """

    file: Path
    images: tuple[CocoImage, ...]
    classes: Mapping[int, str]
    left_out: int = 0

    def to_learn_from(self) -> "CocoSplit":
        """Return the images that hold an object, as the published training reads them.

        Raises:
            DataError: If there is none.
        """
        kept = tuple(image for image in self.images if learnable_objects(image))
        if not kept:
            raise DataError(f"{self.file} has no object to learn from")
        return replace(self, images=kept, left_out=len(self.images) - len(kept))


def read_split(folder: str | Path, split: str) -> CocoSplit:
    """Find and read the annotations of a split.

    The file is the JSON file of COCO detection whose name, or folder, names the split, such as
    annotations/instances_train2017.json or train/_annotations.coco.json; its images may lie
    anywhere in the folder.

    Args:
        folder: The data set.
        split: "train", "val" or "test".

    Returns:
        The split.

    Raises:
        DataError: If there is no such file, or more than one, an image is missing, or an
            annotation is not one of instance segmentation.
    """
    root = Path(folder)
    if split not in _SPLITS:
        raise DataError(f"split={split!r} must be one of {', '.join(_SPLITS)}")
    files = list_files(root)
    name = _annotation_file(root, files, split)
    content = _load(files[name])
    classes = _read_classes(content["categories"], files[name])
    objects = _objects_by_image(content["annotations"], classes, files[name])
    paths = only_images(files)
    index = ImageIndex(paths)
    images = []
    for entry in sorted(content["images"], key=lambda entry: entry["id"]):
        found = index.find(entry["file_name"], name)
        if len(found) != 1:
            raise DataError(
                f"{files[name]}: image {entry['file_name']!r} is {_where(found)}; put every image "
                f"once below {root}"
            )
        packed = json.dumps(objects.pop(entry["id"], [])).encode()
        images.append(
            CocoImage(entry["id"], paths[found[0]], entry["width"], entry["height"], packed)
        )
    if objects:
        raise DataError(f"{files[name]}: annotations of image {next(iter(objects))}, not listed")
    return CocoSplit(files[name], tuple(images), classes)


def learnable_objects(image: CocoImage) -> list[dict[str, Any]]:
    """Return the annotations to train on: no crowds, boxes of a pixel or more on the image."""
    return [
        entry
        for entry in json.loads(image.objects)
        if not entry.get("iscrowd") and min(_visible_sides(entry["bbox"], image)) >= 1
    ]


def _visible_sides(box: list[float], image: CocoImage) -> tuple[float, float]:
    left, top, width, height = box
    return (
        min(left + width, image.width) - max(left, 0),
        min(top + height, image.height) - max(top, 0),
    )


def _annotation_file(root: Path, files: Mapping[str, Path], split: str) -> str:
    names = [name for name in files if PurePosixPath(name).suffix.lower() == ".json"]
    instances = [name for name in names if PurePosixPath(name).stem.startswith("instances")]
    fitting = [name for name in instances or names if split_of(name) == split]
    if len(fitting) == 1:
        return fitting[0]
    have = ", ".join(fitting or names) or "no JSON file"
    raise DataError(
        f"{root} must have one COCO file of the split {split!r}, such as annotations/"
        f"instances_{split}.json; it has {have}"
    )


def _load(file: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        raise DataError(f"{file} is no JSON: {error}") from error
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in _KEYS
    ):
        raise DataError(f"{file} must be a JSON object with the lists {', '.join(_KEYS)}")
    for number, entry in enumerate(content["images"]):
        sides = (entry.get("id"), entry.get("width"), entry.get("height"))
        if not all(isinstance(value, int) for value in sides) or "file_name" not in entry:
            raise DataError(
                f"{file}: images[{number}] must have id, width and height, whole numbers, and "
                f"file_name; it is {entry!r:.120}"
            )
    return content


def _read_classes(entries: list[Any], file: Path) -> dict[int, str]:
    classes = {entry["id"]: str(entry["name"]) for entry in entries}
    if not classes or not all(isinstance(number, int) for number in classes):
        raise DataError(f"{file}: categories must have ids, whole numbers, and names")
    return dict(sorted(classes.items()))


def _objects_by_image(
    entries: list[Any], classes: Mapping[int, str], file: Path
) -> dict[int, list[dict[str, Any]]]:
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for number, entry in enumerate(entries):
        if fault := _fault_of(entry, classes):
            raise DataError(f"{file}: annotations[{number}] {fault}")
        kept = ("category_id", "bbox", "segmentation", "iscrowd")
        by_image[entry["image_id"]].append({key: entry[key] for key in kept if key in entry})
    return by_image


def _fault_of(entry: Any, classes: Mapping[int, str]) -> str:
    """Say what is wrong with an annotation; nothing if it is right."""
    if not isinstance(entry, dict) or not isinstance(entry.get("image_id"), int):
        return f"has no image_id: {entry!r:.120}"
    if entry.get("category_id") not in classes:
        return f"has category_id {entry.get('category_id')!r}, which categories do not list"
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        return f"has bbox {box!r:.120}; left, top, width and height in pixels are needed"
    shape = entry.get("segmentation")
    if isinstance(shape, dict) and {"counts", "size"} <= set(shape):
        return ""
    if (
        isinstance(shape, list)
        and shape
        and all(
            isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            for polygon in shape
        )
    ):
        return ""
    return (
        f"has segmentation {shape!r:.120}; polygons of three points or more, or RLE, are needed: "
        "a data set of boxes alone cannot train masks"
    )


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _where(found: list[str]) -> str:
    return f"at {', '.join(found)}" if found else "nowhere"
