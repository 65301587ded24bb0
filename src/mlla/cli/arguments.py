"""The grammar of the command line: `key=value`, `--key value`, `--key=value` and plain words."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


class UsageError(ValueError):
    """The words of the command line do not make a command; the message says what would."""


def read_options(
    words: Sequence[str], known: Iterable[str], flags: Iterable[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """Separate options from plain words.

    Args:
        words: The words after the command. `key = value` may be spread over three of them.
        known: Names of the options that take a value; dashes and underscores are the same.
        flags: Names of the options that may stand alone, for "True".

    Returns:
        The plain words, and the options with their text.

    Raises:
        UsageError: If an option is unknown, lacks its value or comes twice.
    """
    flags = set(flags)
    names = {*known, *flags}
    plain: list[str] = []
    options: dict[str, str] = {}
    words = _join_equals(words)
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        if not (word.startswith("--") or "=" in word):
            if word in flags:
                word = f"{word}=True"
            else:
                plain.append(word)
                continue
        key, equals, value = word.removeprefix("--").partition("=")
        key = key.replace("-", "_")
        if key not in names:
            raise UsageError(f"unknown option {key!r}{nearest(key, names)}")
        if not equals:
            follows = words[index] if index < len(words) else "--"
            takes_next = not follows.startswith("--") and "=" not in follows
            if takes_next and not (key in flags and follows not in ("True", "False")):
                value, index = follows, index + 1
            elif key in flags:
                value = "True"
            else:
                raise UsageError(f"option {key!r} needs a value: {key}=...")
        if key in options:
            raise UsageError(f"option {key!r} is given twice: {options[key]!r} and {value!r}")
        options[key] = value
    return plain, options


def value_of(text: str) -> Any:
    """Read a value as Ultralytics does: a Python literal, none/true/false in any case, or text."""
    named = {"none": None, "true": True, "false": False}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known words most like `word`, or nothing."""
    near = get_close_matches(word, list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _join_equals(words: Sequence[str]) -> list[str]:
    """Join `key = value`, `key= value` and `key =value`, and lists broken at spaces."""
    joined: list[str] = []
    for word in words:
        open_list = joined and joined[-1].count("[") > joined[-1].count("]")
        if joined and (
            open_list
            or joined[-1].endswith("=")
            or (word.startswith("=") and "=" not in joined[-1])
        ):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
