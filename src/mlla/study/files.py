"""Files of a study: written whole or not at all, and known by their digest."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

FORMAT = 1


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one.

    Args:
        path: The file; its folder must exist.
        content: Text, written as UTF-8 with plain line feeds, or bytes.

    Raises:
        OSError: If it cannot be written, as on a full disk; the old content is then still there.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    # a name of its own, so that two writers cannot mix their bytes
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.writing")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict[str, Any]) -> None:
    """Write a JSON file whole, with the version of the format.

    Args:
        path: The file; its folder must exist.
        content: What JSON can hold; NaN must already be None.

    Raises:
        ValueError: If a number is not finite.
        OSError: If it cannot be written.
    """
    text = json.dumps({"format": FORMAT, **content}, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If it is no JSON, or of a format that this version does not know.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is not the file that was written: {error}; restore it, or remove it to have "
            "it made again"
        ) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path} is of format {found!r} and this version of mlla reads {FORMAT}; use the "
            "version that wrote it"
        )
    return content


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
