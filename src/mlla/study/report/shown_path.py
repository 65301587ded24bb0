"""How the report names a file of the dataset."""

from __future__ import annotations

from pathlib import Path


def shown_path(file: str, data_yaml: str) -> str:
    """Return the path of a file as seen from the folder of data.yaml, where it lies in it.

    Args:
        file: Path of the file.
        data_yaml: Path of the data.yaml.
    """
    folder = Path(data_yaml).parent
    path = Path(file)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else file
