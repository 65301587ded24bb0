"""The Ultralytics layout on disk: folders, label lines and data.yaml, whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from mlla.data.errors import DataError

SPLITS = ("train", "val", "test")


@contextmanager
def whole_folder(destination: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `destination` that takes its name only if all went well.

    Any exception, Ctrl-C included, removes the temporary folder and leaves no trace of it.

    Args:
        destination: The folder to create; it may exist if it is empty.

    Yields:
        The empty temporary folder to write into.

    Raises:
        DataError: If `destination` is a file or a folder that is not empty.
    """
    target = Path(destination).absolute()
    if target.exists() and not target.is_dir():
        raise DataError(f"destination {target} is a file; give the name of a new folder")
    if target.exists() and any(target.iterdir()):
        raise DataError(
            f"destination {target} exists and is not empty; give a new folder or remove it first"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_split_folders(root: Path, splits: Sequence[str]) -> None:
    """Create images/<split> and labels/<split> under `root`."""
    for split in splits:
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)


def label_line(class_id: int, numbers: Sequence[float]) -> str:
    """Format one line of a label file, with six digits after the point.

    Args:
        class_id: Index into the names of data.yaml.
        numbers: Normalised centre x, centre y, width, height of a box, or x, y pairs of a polygon.

    Returns:
        The line without its line end.
    """
    return " ".join([str(class_id), *(f"{number:.6f}" for number in numbers)])


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with plain line feeds, the same bytes on every system."""
    path.write_bytes(text.encode("utf-8"))


def write_labels(path: Path, lines: Sequence[str]) -> None:
    """Write a label file; no line at all means a background image."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_data_yaml(root: Path, names: Sequence[str], splits: Sequence[str]) -> Path:
    """Write data.yaml for the splits that exist under `root`.

    There is no `path` key on purpose: Ultralytics then takes the folder of the file itself, so
    the data set can be moved and the bytes do not depend on where it was made.

    Args:
        root: Folder that holds images/ and labels/.
        names: Class names in the order of their ids.
        splits: The splits that exist, a selection of `SPLITS`.

    Returns:
        The path of the file.
    """
    content: dict[str, object] = {split: f"images/{split}" for split in SPLITS if split in splits}
    content["names"] = dict(enumerate(names))
    path = root / "data.yaml"
    write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path
