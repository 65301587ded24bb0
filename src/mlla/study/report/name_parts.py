"""Where a line may end inside a name."""

from __future__ import annotations

import re

# behind a separator that a letter follows, so not in numbers, and before a word
_PLACES = re.compile(r"(?<=\w[-+@_./])(?=[^\W\d])|(?<=[a-z])(?=[A-Z][A-Za-z])")


def name_parts(text: str) -> list[str]:
    """Cut a text where names may be broken: yolov8n+MyBlock@neck in four.

    Args:
        text: A name, or a sentence with names.

    Returns:
        The parts; put together again they are the text.
    """
    return _PLACES.split(text)
