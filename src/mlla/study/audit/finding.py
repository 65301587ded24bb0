"""One thing that was found about runs, in words a reviewer would use."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Weight(str, Enum):
    """How much a finding counts; the value is what a reader sees."""

    FAULT = "FAULT"
    NOTE = "note"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """A fault, a note, or something that could not be looked at.

    Attributes:
        weight: How much it counts.
        title: What it is, in a few words.
        seen: What was seen, with numbers.
        why: Why it matters; empty for what was not checked.
        remedy: What to do about it.
        runs: Names of the runs it is about; empty if it is about all.
        spoils: Arms whose difference, or that to others, may come from this and not from the model.
    """

    weight: Weight
    title: str
    seen: str
    why: str = ""
    remedy: str = ""
    runs: tuple[str, ...] = ()
    spoils: tuple[str, ...] = ()


def listed(words: Iterable[object], limit: int = 4) -> str:
    """Join words with commas; of many, the first ones and how many more there are."""
    texts = [str(word) for word in words]
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[: limit - 1])} and {len(texts) - limit + 1} more"


def counted(number: int, noun: str) -> str:
    """Return "1 run", "2 runs"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
