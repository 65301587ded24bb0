# SPDX-License-Identifier: AGPL-3.0-only
"""The arguments that the installed Ultralytics takes: defaults, values, and what `data` means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg import check_cfg
from ultralytics.data.utils import DATASETS_DIR
from ultralytics.utils import DEFAULT_CFG_DICT, ROOT

from mlla.yolo.checks import check_arguments, check_data


def default_arguments() -> dict[str, Any]:
    """Return every argument of the installed Ultralytics with its default."""
    return dict(DEFAULT_CFG_DICT)


def refuse_bad_values(arguments: Mapping[str, Any]) -> None:
    """Raise on values of a type or size that Ultralytics does not take.

    Args:
        arguments: Arguments of Ultralytics.

    Raises:
        ValueError: If one is wrong; the message names it.
    """
    check_arguments(dict(arguments))
    try:
        check_cfg(dict(arguments))
    except TypeError as error:
        raise ValueError(str(error)) from error


def find_dataset(data: str | Path) -> tuple[Path, Path]:
    """Find a data.yaml, also one that Ultralytics brings along.

    Args:
        data: A path, or the name of a dataset such as coco8.yaml.

    Returns:
        The absolute path, which need not exist, and the folder where Ultralytics looks up a
        relative `path` in the file.

    Raises:
        FileNotFoundError: If it is the name of a dataset that is not on this machine.
    """
    path = Path(data)
    packaged = ROOT / "cfg" / "datasets" / path.name
    if not path.exists() and path.parent == Path() and packaged.is_file():
        check_data(path, "detect")
        path = packaged
    return path.absolute(), Path(DATASETS_DIR)
