"""Lists of image names such as ImageSets/Main/train.txt, and the splits they define."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlla.data.images import IMAGE_SUFFIXES
from mlla.data.report import Kind, Problem
from mlla.data.source import Sample

LIST_NAMES = ("train", "val", "test", "trainval")


def find_split_lists(files: Mapping[str, Path], folder: str) -> dict[str, dict[str, Path]]:
    """Find the lists named train.txt, val.txt, test.txt and trainval.txt in given folders.

    Args:
        files: All files of the source by relative name.
        folder: Last parts of the folder that holds lists, such as `ImageSets/Main`; empty for
            the top folder only.

    Returns:
        For each base folder (what stands before `folder`) its lists by name.
    """
    found: dict[str, dict[str, Path]] = {}
    for name, path in files.items():
        parent = PurePosixPath(name).parent.as_posix()
        parent = "" if parent == "." else parent
        right_place = parent == folder or (bool(folder) and parent.endswith(f"/{folder}"))
        if right_place and path.suffix == ".txt" and path.stem in LIST_NAMES:
            base = parent.removesuffix(folder).strip("/")
            found.setdefault(base, {})[path.stem] = path
    return found


def apply_split_lists(
    samples: Sequence[Sample], base: str, lists: Mapping[str, Path], problems: list[Problem]
) -> list[Sample]:
    """Set the split of the samples under `base` by its lists.

    Without both train and val lists, what is listed in train, val or trainval is left to be split
    at random; a test list is kept.

    Args:
        samples: All samples; those outside `base` are not touched.
        base: Folder that the lists are about, relative to the source; empty for all.
        lists: Files by list name.
        problems: Receives images in no list or in two, and listed names without an image.

    Returns:
        The samples without those under `base` that no list names.
    """
    is_split = "train" in lists and "val" in lists
    relevant = ("train", "val", "test") if is_split else LIST_NAMES
    split_by_stem: dict[str, str] = {}
    for split in relevant:
        for stem in _read_stems(lists[split]) if split in lists else []:
            first = split_by_stem.setdefault(stem, split)
            if first != split and (split != "trainval" or first == "test"):
                detail = f"listed in {first} and in {split}"
                action = f"kept in {first} only"
                list_name = f"{split}.txt"
                problems.append(Problem(Kind.IN_TWO_SPLITS, list_name, stem, detail, action))
    kept, seen = [], set()
    for sample in samples:
        if base and not sample.image.startswith(f"{base}/"):
            kept.append(sample)
            continue
        stem = PurePosixPath(sample.image).stem
        if stem not in split_by_stem:
            action = "image left out"
            problems.append(
                Problem(Kind.IN_NO_SPLIT, sample.image, "", "named by no split list", action)
            )
            continue
        seen.add(stem)
        split = split_by_stem[stem]
        sample.split = split if is_split or split == "test" else None
        kept.append(sample)
    for stem in sorted(split_by_stem.keys() - seen):
        list_name = f"{split_by_stem[stem]}.txt"
        problems.append(
            Problem(Kind.LISTED_MISSING, list_name, stem, "no such image", "entry passed over")
        )
    return kept


def _read_stems(path: Path) -> list[str]:
    """Read the stem of each image in a list; a flag behind the name, as in VOC, is cut off."""
    stems = []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        entry = line.strip()
        head, _, flag = entry.rpartition(" ")
        if head and flag in ("1", "0", "-1"):
            entry = head.strip()
        if entry:
            name = PurePosixPath(entry.replace("\\", "/")).name
            stems.append(_without_image_suffix(name))
    return stems


def _without_image_suffix(name: str) -> str:
    """Cut off the suffix of an image but no other: `a.b` is a stem."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name
