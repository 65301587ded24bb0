"""A place for what is not yet checked, and its way to the final name."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def drafts_in(folder: Path) -> Iterator[Path]:
    """Open a hidden folder beside the final place, on the same disk; it is removed at the end.

    Args:
        folder: The final place; made if it does not exist.

    Raises:
        OSError: If nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        drafts = Path(tempfile.mkdtemp(prefix=".exporting-", dir=folder))
    except OSError as error:
        raise OSError(
            f"nothing can be written to {folder} ({error.strerror}); name another folder: out=..."
        ) from error
    try:
        yield drafts
    finally:
        shutil.rmtree(drafts, ignore_errors=True)


def put_in_place(draft: Path, target: Path) -> Path:
    """Give a finished file or folder its name, in place of what had it.

    Args:
        draft: What was written.
        target: The final name, on the same disk.

    Returns:
        The final name.

    Raises:
        OSError: If that fails; what was there is then still there.
    """
    if not target.exists() or (target.is_file() and draft.is_file()):
        return draft.replace(target)
    # a folder cannot be replaced in one step
    aside = draft.parent / f"old-{secrets.token_hex(4)}"
    target.replace(aside)
    try:
        return draft.replace(target)
    except OSError:
        aside.replace(target)
        raise
