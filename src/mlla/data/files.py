"""Find files in a stable order, and the image that an annotation speaks of."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from mlla.data.errors import DataError
from mlla.data.images import IMAGE_SUFFIXES

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_JUNK_FOLDERS = frozenset({"__MACOSX"})


def list_files(root: Path) -> dict[str, Path]:
    """Find all files under a folder, in the order of their names.

    Hidden files and folders are passed over; a linked folder is followed once.

    Args:
        root: The folder.

    Returns:
        Path of each file by its name relative to `root`, with forward slashes.

    Raises:
        DataError: If `root` is no folder.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds the data set")
    files: dict[str, Path] = {}
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and name not in _JUNK_FOLDERS
        )
        for name in names:
            if not name.startswith("."):
                path = Path(folder, name)
                files[path.relative_to(root).as_posix()] = path
    return dict(sorted(files.items()))


def only_images(files: dict[str, Path]) -> dict[str, Path]:
    """Select the files whose suffix is that of an image."""
    return {name: path for name, path in files.items() if path.suffix.lower() in IMAGE_SUFFIXES}


def split_of(name: str) -> str | None:
    """Read the split from the folders and the stem of a relative name.

    Args:
        name: Such as `train2017/1.jpg`, `valid/images/1.jpg` or `instances_val2017.json`. An
            image's own stem does not count: `test_1.jpg` says nothing.

    Returns:
        `train`, `val` or `test`; None if no part, or several parts, name a split.
    """
    path = PurePosixPath(name)
    parts = (
        path.parts[:-1] if path.suffix.lower() in IMAGE_SUFFIXES else (*path.parts[:-1], path.stem)
    )
    words = re.findall("[a-z]+", " ".join(parts).lower())
    found = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return found.pop() if len(found) == 1 else None


class ImageIndex:
    """Looks images up by what an annotation calls them.

    Args:
        names: Names of all images relative to their root.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_stem[PurePosixPath(name).stem].append(name)

    def find(self, reference: str, annotation: str) -> list[str]:
        """Find the image that best fits a reference.

        Args:
            reference: What the annotation calls the image: a stem, a file name, or a path of
                which the last parts count most. A suffix is compared only if it is given.
            annotation: Relative name of the annotation file; among images of one name that of
                the same split, then that in folders of the same names, is preferred.

        Returns:
            The best fitting names; none if there is none, several if they fit equally well.
        """
        wanted = PurePosixPath(reference.replace("\\", "/"))
        candidates = self._by_stem.get(wanted.stem, []) if wanted.suffix else []
        candidates = [name for name in candidates if PurePosixPath(name).name == wanted.name]
        candidates = candidates or self._by_stem.get(wanted.name, [])
        if len(candidates) < 2:
            return list(candidates)
        scores = {name: _likeness(name, wanted, annotation) for name in candidates}
        best = max(scores.values())
        return [name for name in candidates if scores[name] == best]


def _likeness(name: str, wanted: PurePosixPath, annotation: str) -> tuple[int, bool, int]:
    """Score how well an image of the right file name fits the rest of what is known."""
    folders = PurePosixPath(name).parts[:-1]
    common_tail = 0
    for part, wanted_part in zip(reversed(folders), reversed(wanted.parts[:-1]), strict=False):
        if part != wanted_part:
            break
        common_tail += 1
    same_split = split_of(name) == split_of(annotation)
    shared_folders = len(set(folders) & set(PurePosixPath(annotation).parts[:-1]))
    return common_tail, same_split, shared_folders
