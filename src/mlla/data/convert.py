"""Turn a data set in VOC, COCO or YOLO format into the Ultralytics layout."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from mlla.data.clean import clean_shapes
from mlla.data.coco import read_coco
from mlla.data.errors import DataError
from mlla.data.images import UnreadableImageError, inspect_image
from mlla.data.keep_together import split_together
from mlla.data.layout import (
    SPLITS,
    make_split_folders,
    whole_folder,
    write_data_yaml,
    write_labels,
    write_text,
)
from mlla.data.placing import Placed, assign_splits, name_files
from mlla.data.report import Kind, Problem, Report, SplitCounts
from mlla.data.source import Sample, Source
from mlla.data.voc import read_voc
from mlla.data.yolo import read_yolo

FORMATS = ("voc", "coco", "yolo")
GROUPS = ("identical", "near-duplicates")


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    from_format: str,
    split: float = 0.8,
    test: float = 0.0,
    group: str = "identical",
    seed: int = 0,
    images: str | Path | None = None,
    classes: Sequence[str] | None = None,
    quiet: bool = False,
) -> Report:
    """Convert a detection data set into the Ultralytics layout, whole or not at all.

    Images are copied byte for byte. Splits of the source are kept; a source without them is
    split at random, identical images always together and near-duplicates if asked for. Whatever
    is wrong with the source is dealt with one box at a time and named in report.txt and
    report.json. The same input and arguments give the same bytes.

    Args:
        source: Folder with the data set; for COCO also a JSON file.
        destination: Folder to create.
        from_format: `voc`, `coco` or `yolo`.
        split: Share of the images for training where the source has no splits of its own,
            between 0 and 1; the others validate.
        test: Share of the images to hold out for testing where the source has neither splits nor
            test images of its own.
        group: What a split never separates: `identical` images, or also `near-duplicates`, which
            are then searched for, counted and listed in near_duplicates.csv; classes are balanced.
        seed: Another seed gives another random split.
        images: Folder with the images where they are not inside `source`.
        classes: Class names in the order of the ids to write; objects of other classes are
            dropped and reported. All classes of the source if not given.
        quiet: Show no progress bar.

    Returns:
        What was written, and every problem.

    Raises:
        DataError: If an argument is wrong or the source holds nothing to convert.
    """
    shares = _check_split(split, test, group)
    root, images_root = _check_arguments(source, destination, from_format, images, classes)
    with whole_folder(destination) as folder:
        data = _read(root, images_root, from_format, classes)
        names = _choose_names(data, classes)
        problems = data.problems
        items = _inspect_all(data.samples, problems, quiet)
        together = None
        if group == "near-duplicates":
            together = split_together(items, shares, seed, problems, quiet)
            items = together.items
            write_text(folder / "near_duplicates.csv", together.table())
        else:
            items = assign_splits(items, shares, seed, problems)
        _report_duplicates(items, problems)
        name_files(items, problems)
        splits = _write_all(folder, items, names, data.in_pixels, problems, quiet)
        _report_unused_classes(names, splits, problems)
        write_data_yaml(folder, names, list(splits))
        report = Report(
            title=f"Converted from {from_format}",
            data_yaml=Path(destination).absolute() / "data.yaml",
            names=tuple(names),
            splits=splits,
            problems=tuple(problems),
            near_duplicates=together.counts if together else None,
        )
        write_text(folder / "report.txt", report.text())
        write_text(folder / "report.json", report.to_json())
    return report


def _check_split(split: float, test: float, group: str) -> dict[str, float]:
    """Return the share of every split, or say which argument is wrong."""
    if not 0 < split < 1:
        raise DataError(f"split is {split}; it must lie between 0 and 1, such as 0.8")
    # so that 0.7 and 0.3 leave exactly nothing
    val = round(1 - split - test, 9)
    if not (test >= 0 and val > 0):
        raise DataError(
            f"test is {test}; with split {split} for training it must be at least 0 and below "
            f"{1 - split:.3g}, so that some images validate"
        )
    if group not in GROUPS:
        raise DataError(f"group is {group!r}; it must be one of {', '.join(GROUPS)}")
    shares = {"train": split, "val": val, "test": test}
    return {name: share for name, share in shares.items() if share > 0}


def _check_arguments(
    source: str | Path,
    destination: str | Path,
    from_format: str,
    images: str | Path | None,
    classes: Sequence[str] | None,
) -> tuple[Path, Path]:
    """Return the folders of annotations and of images, or say which argument is wrong."""
    if from_format not in FORMATS:
        raise DataError(f"from_format is {from_format!r}; it must be one of {', '.join(FORMATS)}")
    if classes is not None and (
        not classes or isinstance(classes, str) or len(set(classes)) < len(classes)
    ):
        raise DataError(f"classes is {classes!r}; give a list that names each class once")
    root = Path(source)
    if not root.exists():
        raise DataError(f"source {root} does not exist")
    if root.is_file() and from_format != "coco":
        raise DataError(f"source {root} is a file; give the folder that holds the data set")
    if images is not None:
        images_root = Path(images)
    elif root.is_file():
        images_root = root.parent
    else:
        images_root = root
    if not images_root.is_dir():
        raise DataError(f"images {images_root} is not a folder")
    for folder in (root, images_root):
        if folder.is_dir() and Path(destination).resolve().is_relative_to(folder.resolve()):
            raise DataError(
                f"destination {destination} lies inside {folder}, which is only read; choose a "
                "folder outside it"
            )
    return root, images_root


def _read(root: Path, images_root: Path, from_format: str, classes: Sequence[str] | None) -> Source:
    """Read the source, and refuse one without any image."""
    if from_format == "voc":
        data = read_voc(root, images_root)
    elif from_format == "coco":
        data = read_coco(root, images_root)
    else:
        data = read_yolo(root, images_root, classes)
    if not data.samples:
        reasons = "; ".join(str(problem) for problem in data.problems[:3])
        raise DataError(
            f"no image of {root} can be used{f' ({reasons})' if reasons else ''}; if the images "
            f"are elsewhere, name their folder with images= (--images)"
        )
    return data


def _choose_names(data: Source, classes: Sequence[str] | None) -> list[str]:
    """Return the class names to write."""
    names = data.names if classes is None else list(classes)
    if not names:
        raise DataError("the source holds no box at all, so there is no class to learn")
    if not set(names) & set(data.names):
        raise DataError(
            f"none of the given classes {names} occurs in the source, which has {data.names}"
        )
    return names


def _inspect_all(samples: Sequence[Sample], problems: list[Problem], quiet: bool) -> list[Placed]:
    """Read every image; those that cannot be used are reported and left out."""
    items = []
    for sample in tqdm(samples, desc="reading", disable=True if quiet else None):
        try:
            facts = inspect_image(sample.path)
        except UnreadableImageError as error:
            action = "image left out"
            problems.append(Problem(Kind.UNREADABLE_IMAGE, sample.image, "", str(error), action))
            continue
        if not facts.has_end:
            detail = "bytes are missing or added at its end, though it can be decoded"
            action = "copied as it is; Ultralytics will rewrite its copy"
            problems.append(Problem(Kind.JPEG_END, sample.image, "", detail, action))
        items.append(Placed(sample, facts))
    if not items:
        raise DataError(f"none of the {len(samples)} images can be read; see {problems[-1]}")
    return items


def _report_duplicates(items: Sequence[Placed], problems: list[Problem]) -> None:
    """Name images whose files are the same, byte for byte."""
    first_by_digest: dict[str, Placed] = {}
    for item in items:
        first = first_by_digest.setdefault(item.facts.digest, item)
        if first is item:
            continue
        kind, action = Kind.DUPLICATE_IMAGE, f"both kept in {item.split}"
        if first.split != item.split:
            kind, action = Kind.IN_TWO_SPLITS, "kept, as the source has it so; remove one of them"
        detail = f"in {item.split}, the same bytes as {first.sample.image} in {first.split}"
        problems.append(Problem(kind, item.sample.image, "", detail, action))


def _report_unused_classes(
    names: Sequence[str], splits: Mapping[str, SplitCounts], problems: list[Problem]
) -> None:
    """Name classes without a single box; their ids are kept."""
    for index, name in enumerate(names):
        if not any(counts.boxes[index] for counts in splits.values()):
            kind, action = Kind.CLASS_WITHOUT_BOXES, "kept among the names"
            problems.append(Problem(kind, "data.yaml", name, "no box has it", action))


def _write_all(
    folder: Path,
    items: Sequence[Placed],
    names: Sequence[str],
    in_pixels: bool,
    problems: list[Problem],
    quiet: bool,
) -> dict[str, SplitCounts]:
    """Write images and labels; return the counts of each split that is not empty."""
    splits = {
        split: SplitCounts() for split in SPLITS if any(item.split == split for item in items)
    }
    make_split_folders(folder, list(splits))
    for item in tqdm(items, desc="writing", disable=True if quiet else None):
        labels = clean_shapes(item.sample, item.facts, names, in_pixels, problems)
        shutil.copyfile(item.sample.path, folder / "images" / item.split / item.file_name)
        label_name = f"{PurePosixPath(item.file_name).stem}.txt"
        write_labels(folder / "labels" / item.split / label_name, [line for _, line in labels])
        splits[item.split].add_image([class_id for class_id, _ in labels])
    return splits
