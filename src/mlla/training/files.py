"""Files and folders that are the old ones or the new ones, whenever the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Give a draft that takes the place of a file when the context ends well.

    Args:
        path: The file; its folder exists.

    Yields:
        Where to write.

    Raises:
        OSError: If it cannot be written; the old file is then still there.
    """
    draft = path.with_name(f".{path.name}.writing")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of another when the context ends well.

    Args:
        path: The folder; it may not exist yet.

    Yields:
        Where to write.

    Raises:
        OSError: If it cannot be written; the old folder is then still there.
    """
    draft, old = (path.with_name(f".{path.name}.{state}") for state in ("writing", "replaced"))
    shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        if path.exists():
            path.rename(old)
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
