"""Find the images and masks of a dataset: ADE20K's and Cityscapes' folders, or a YAML file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlla.data import DataError
from mlla.data.files import list_files, only_images, split_of
from mlla.semantic_segmentation.label_map import LabelMap
from mlla.semantic_segmentation.mask_split import MaskSplit

_IMAGE_FOLDERS = ("images", "leftImg8bit", "JPEGImages")
_MASK_FOLDERS = ("annotations", "masks", "labels", "gtFine", "SegmentationClass")
# what Cityscapes puts behind the name of a scene; of its masks, those with classes counted from 0
_IMAGE_ENDING, _MASK_ENDINGS = "_leftImg8bit", ("_gtFine_labelTrainIds", "_gtFine_labelIds")
_CITYSCAPES_NUMBERS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CITYSCAPES_NAMES = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)


def open_split(
    data: str | Path,
    split: str,
    *,
    classes: Mapping[int, str] | Sequence[str] | int | None = None,
    ignore: Collection[int] = (),
    reduce_zero_label: bool = False,
) -> MaskSplit:
    """Find the images and masks of a split.

    Args:
        data: A folder with `images/SPLIT` and `annotations/SPLIT` (or `masks`, `labels`) of the
            same file names, or Cityscapes' `leftImg8bit` and `gtFine`; or a YAML file with
            `SPLIT: {images: FOLDER, masks: FOLDER}`, `classes: {number: name}` and `ignore`.
        split: Such as "train" or "val"; a folder "training" or "val2017" is found, too.
        classes: Names of the classes numbered from 0 (from 1 with `reduce_zero_label`), or names
            by number, or how many there are. By default the lines of classes.txt in the folder,
            Cityscapes' 19 classes, or `classes` of the YAML file.
        ignore: Numbers in masks whose pixels do not count, beside 255; of the classes that the data
            names, these are left out.
        reduce_zero_label: The number 0 does not count and 1 is the first class, as in ADE20K.

    Returns:
        The split.

    Raises:
        DataError: If the data, a folder, a mask or the classes are missing.
    """
    data = Path(data)
    if data.is_file():
        content = _read_yaml(data)
        folders = _folders_of_yaml(data, content, split)
    elif data.is_dir():
        content = {"classes": _names_in(data)}
        folders = _folders_below(data, split)
    else:
        raise DataError(f"data={data} is neither a folder nor a YAML file")
    pairs, num_unlabelled = _pairs(*folders)
    if classes is None and content.get("classes") is None:
        content = _cityscapes(pairs[0][1])
    asked = set(ignore) if classes is None else set()
    if classes is None:
        classes = content.get("classes")
        ignore = {*ignore, *(content.get("ignore") or ())}
    if classes is None:
        raise DataError(
            f"{data} does not say which classes its masks have; pass classes=background,nucleus, "
            "or their number, or write one name a line into classes.txt there"
        )
    numbered = _numbered(classes, first=1 if reduce_zero_label else 0)
    names = {number: name for number, name in numbered.items() if number not in asked}
    if reduce_zero_label:
        ignore = {*ignore, 0}
    return MaskSplit(pairs, LabelMap(names, ignore), num_unlabelled)


def _cityscapes(mask_file: Path) -> dict[str, Any]:
    """Return the classes of Cityscapes if a mask is called as there, else nothing."""
    if mask_file.stem.endswith("_gtFine_labelTrainIds"):
        return {"classes": _CITYSCAPES_NAMES}
    if mask_file.stem.endswith("_gtFine_labelIds"):
        classes = dict(zip(_CITYSCAPES_NUMBERS, _CITYSCAPES_NAMES, strict=True))
        return {"classes": classes, "ignore": set(range(34)) - classes.keys()}
    return {}


def _numbered(classes: Any, *, first: int) -> dict[int, str]:
    if isinstance(classes, Mapping):
        return {int(number): str(name) for number, name in classes.items()}
    if isinstance(classes, int):
        return {number: str(number) for number in range(first, first + classes)}
    return dict(enumerate(map(str, classes), start=first))


def _folders_below(data: Path, split: str) -> tuple[Path, Path]:
    found = []
    for kind, names in (("images", _IMAGE_FOLDERS), ("masks", _MASK_FOLDERS)):
        roots = [data / name for name in names if (data / name).is_dir()]
        if not roots:
            raise DataError(f"{data} has no folder of {kind}; it must be called one of {names}")
        folders = [folder for folder in sorted(roots[0].iterdir()) if folder.is_dir()]
        exact = [folder for folder in folders if folder.name == split]
        alike = [folder for folder in folders if split_of(f"{folder.name}/x.png") == split]
        if not (exact or alike):
            there = ", ".join(folder.name for folder in folders) or "none"
            raise DataError(f"{roots[0]} has no folder for the split {split!r}; it has {there}")
        found.append((exact or alike)[0])
    return found[0], found[1]


def _folders_of_yaml(file: Path, content: Mapping[str, Any], split: str) -> tuple[Path, Path]:
    entry = content.get(split)
    if not isinstance(entry, Mapping) or {"images", "masks"} - entry.keys():
        raise DataError(f"{file} must have {split}: {{images: FOLDER, masks: FOLDER}}")
    root = file.parent / str(content.get("path", "."))
    return root / str(entry["images"]), root / str(entry["masks"])


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} must hold train, val and classes")
    return content


def _names_in(data: Path) -> list[str] | None:
    file = data / "classes.txt"
    if not file.is_file():
        return None
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _pairs(images: Path, masks: Path) -> tuple[list[tuple[Path, Path]], int]:
    """Match files by their path below the two folders, without suffix; count what has no mask."""
    image_files = {_key(n, _IMAGE_ENDING): p for n, p in only_images(list_files(images)).items()}
    by_ending = (_masks(masks, ending) for ending in (*_MASK_ENDINGS, ""))
    mask_files = next((files for files in by_ending if files), {})
    pairs = [(image_files[key], mask_files[key]) for key in image_files if key in mask_files]
    if not pairs:
        raise DataError(
            f"no image in {images} has a mask of the same name in {masks}: {len(image_files)} "
            f"images, {len(mask_files)} masks"
        )
    return pairs, len(image_files) - len(pairs)


def _masks(folder: Path, ending: str) -> dict[str, Path]:
    files = only_images(list_files(folder))
    return {_key(n, ending): p for n, p in files.items() if Path(n).stem.endswith(ending)}


def _key(name: str, ending: str) -> str:
    return name.rpartition(".")[0].removesuffix(ending)
