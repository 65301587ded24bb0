"""Running code of strangers: whatever it raises becomes a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")
_LONGEST = 160


class FailedError(Exception):
    """Code under test raised; the message is what it said, in one line."""


def attempt(action: Callable[[], Result]) -> Result:
    """Run code of the file that is checked.

    Args:
        action: What to run.

    Returns:
        Its result.

    Raises:
        FailedError: If it raised anything, `sys.exit` included, but Ctrl-C.
    """
    try:
        return action()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise FailedError(sentence(error)) from error


def sentence(error: BaseException) -> str:
    """Return kind and first line of an error, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
