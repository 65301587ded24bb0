# SPDX-License-Identifier: AGPL-3.0-only
"""The arguments that the installed Ultralytics takes, and whether values of them make sense."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ultralytics.cfg import check_cfg
from ultralytics.utils import DEFAULT_CFG_DICT

from mlla.yolo.checks import check_arguments


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
