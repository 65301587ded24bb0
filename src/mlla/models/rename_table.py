"""Tables of what the authors of a model call its parts and what we call them."""

import re
from collections.abc import Mapping


class RenameTable:
    """Renames parameters by the module, or the parameter, that their names begin with.

    Args:
        parts: Their name of a part to ours. `{stage}` and `{block}` in it stand for numbers; ours
            may use `{next_stage}` and `{previous_stage}` as well.
    """

    def __init__(self, parts: Mapping[str, str]) -> None:
        self._patterns = [(_pattern(theirs), ours) for theirs, ours in parts.items()]

    def rename(self, name: str) -> str:
        """Return our name for one of theirs; unknown names come back as they are."""
        for pattern, ours in self._patterns:
            if match := pattern.match(name):
                numbers = {key: int(number) for key, number in match.groupdict().items()}
                stage = numbers.get("stage", 0)
                neighbours = {"next_stage": stage + 1, "previous_stage": stage - 1}
                return ours.format(**numbers, **neighbours) + name[match.end() :]
        return name


def _pattern(part: str) -> re.Pattern[str]:
    escaped = re.escape(part)
    for number in ("stage", "block"):
        escaped = escaped.replace(rf"\{{{number}\}}", rf"(?P<{number}>\d+)")
    return re.compile(escaped + r"(?=\.|$)")
