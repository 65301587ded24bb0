"""The words of a report in one language."""

from __future__ import annotations

from mlla.study.report.labels import LABELS
from mlla.study.report.prose import PROSE

LANGUAGES = ("en", "zh")


def texts_in(language: str) -> dict[str, str]:
    """Return all labels and sentences by key.

    Args:
        language: "en" or "zh".

    Returns:
        Texts, some with fields in braces to be filled.

    Raises:
        ValueError: If there is no such language.
    """
    if language not in LANGUAGES:
        raise ValueError(f"language={language!r} is unknown; choose from {', '.join(LANGUAGES)}")
    place = LANGUAGES.index(language)
    return {key: text[place] for key, text in {**LABELS, **PROSE}.items()}
