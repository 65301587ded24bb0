"""The images of a study: an image folder with splits, or one folder of classes that is split."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlla.classification import open_split
from mlla.data import DataError
from mlla.data.grouped_split import deal_groups, join_groups
from mlla.study.files import file_digest
from mlla.study.planning.split_leaks import SplitLeaks, find_leaks, find_pairs

# in the folder of a study, for a split that had to be made
IMAGES = "images"
# of the images of one folder of classes
SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
SPLIT_SEED = 0


@dataclass(frozen=True)
class StudyImages:
    """The images that a study trains, chooses and scores on.

    Attributes:
        source: The folder that was named.
        class_names: Names of the classes.
        lists: Images of each split.
        digests: For each split, SHA-256 over the names, classes and bytes of its images.
        made_split: How one folder of classes was split, or None if the folder has splits.
        leaks: What the splits separate that belongs together.
    """

    source: Path
    class_names: tuple[str, ...]
    lists: dict[str, tuple[Path, ...]]
    digests: dict[str, str]
    made_split: dict[str, Any] | None
    leaks: SplitLeaks

    @property
    def scored(self) -> str:
        """The split that the rows are scored on."""
        return "test" if "test" in self.lists else "val"

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """Return what the plan says about the images.

        Args:
            folder: Where `write` puts a split that had to be made.
        """
        return {
            "source": str(self.source),
            "folder": str(folder if self.made_split else self.source),
            "class_names": list(self.class_names),
            "splits": {
                split: {"images": len(images), "sha256": self.digests[split]}
                for split, images in self.lists.items()
            },
            "scored": self.scored,
            "made_split": self.made_split,
            "leaks": self.leaks.to_dict(),
        }

    def write(self, folder: Path) -> None:
        """Write the split that had to be made, if one had."""
        if self.made_split:
            write_splits(folder, self.lists)


def read_images(source: Path, *, near_duplicates: bool = True, quiet: bool = False) -> StudyImages:
    """List the images of a folder; nothing is written.

    Args:
        source: A folder with train, val and perhaps test, each with a folder of images for each
            class; or a folder with a folder of images for each class, which is split.
        near_duplicates: Whether to search for images that show the same; it takes a time that grows
            with the square of their number. Without it only identical images are found.
        quiet: Show no progress.

    Raises:
        FileNotFoundError: If there is no such folder, or it has train but no val.
        ValueError: If images do not lie in folders of classes, or a split has other classes.
        DataError: If there are too few images to split.
    """
    if not source.is_dir():
        raise FileNotFoundError(f"data={source} is not a folder")
    source = source.absolute()
    has_splits = any((source / name).is_dir() for name in ("train", "training"))
    lists, class_names = _given_splits(source) if has_splits else _one_folder(source)
    digests = {image: file_digest(image) for images in lists.values() for image in images}
    pairs = find_pairs(digests, quiet=quiet) if near_duplicates else None
    made_split = None
    if not has_splits:
        lists = _deal(lists["train"], digests, pairs or [])
        groups = "identical" if pairs is None else "near-duplicates"
        made_split = {"shares": SHARES, "groups": groups}
    return StudyImages(
        source,
        class_names,
        lists,
        {split: _digest(images, digests) for split, images in lists.items()},
        made_split,
        find_leaks(lists, digests, pairs),
    )


def write_splits(folder: Path, lists: Mapping[str, Sequence[Path]]) -> None:
    """Give images a place in folders of splits and classes, by hard links where that is possible.

    Args:
        folder: Where to; it must not exist, and is there only when it is whole.
        lists: Images of each split, each in a folder of its class.
    """
    draft = folder.with_name(f"{folder.name}.writing")
    shutil.rmtree(draft, ignore_errors=True)
    for split, images in lists.items():
        for image in images:
            place = draft / split / image.parent.name / image.name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                # a link to a link would not survive the first of them
                os.link(image.resolve(), place)
            except OSError:
                # another disk, or a file system without links
                shutil.copyfile(image, place)
    draft.rename(folder)


def refuse_changed_images(planned: Mapping[str, Any]) -> None:
    """Compare images with the digests in a plan.

    Args:
        planned: The entry "data" of the plan.

    Raises:
        DataError: If an image was changed, added or removed.
    """
    lists = splits_of(Path(planned["folder"]))
    for split, stored in planned["splits"].items():
        images = lists.get(split, ())
        if _digest(images, {image: file_digest(image) for image in images}) != stored["sha256"]:
            raise DataError(
                f"the {stored['images']} {split} images in {planned['folder']} are not those that "
                "this study began with, and a study compares on the same images throughout: "
                "restore them, or start another study with another out="
            )


def splits_of(folder: Path) -> dict[str, tuple[Path, ...]]:
    """List the images of a folder with splits, in the order in which runs see them.

    Raises:
        FileNotFoundError: If there is no train or no val.
    """
    return _given_splits(folder)[0]


def _given_splits(folder: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    names = ["train", "val", *(["test"] if (folder / "test").is_dir() else [])]
    splits = {name: open_split(folder, name) for name in names}
    class_names = splits["train"].class_names
    for split in splits.values():
        split.use_labels_of(class_names)
    lists = {name: tuple(folder / image for image in of.names) for name, of in splits.items()}
    return lists, tuple(class_names)


def _one_folder(folder: Path) -> tuple[dict[str, tuple[Path, ...]], tuple[str, ...]]:
    found = open_split(folder.parent, folder.name)
    images = tuple(folder.parent / name for name in found.names)
    return {"train": images}, tuple(found.class_names)


def _deal(
    images: Sequence[Path], digests: Mapping[Path, str], pairs: list[tuple[str, str]]
) -> dict[str, tuple[Path, ...]]:
    """Split images, classes in equal shares; what shows the same stays together."""
    groups = join_groups(set(digests.values()), pairs)
    classes: dict[str, list[set[str]]] = {}
    for image in images:
        classes.setdefault(groups[digests[image]], []).append({image.parent.name})
    try:
        split_of = deal_groups(classes, SHARES, SPLIT_SEED)
    except DataError as error:
        hint = "; near_duplicates=False would keep only identical ones together" if pairs else ""
        raise DataError(f"{images[0].parents[1]}: {error}{hint}") from error
    lists: dict[str, list[Path]] = {split: [] for split in SHARES}
    for image in images:
        lists[split_of[groups[digests[image]]]].append(image)
    return {split: tuple(of) for split, of in lists.items()}


def _digest(images: Sequence[Path], digests: Mapping[Path, str]) -> str:
    lines = sorted(f"{image.parent.name}/{image.name} {digests[image]}\n" for image in images)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
