"""`mlla check`: what is wrong with a pasted attention class."""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlla.check import check_class
from mlla.cli.arguments import UsageError, read_options, value_of

HELP = """usage: mlla check FILE.py:Class [width=64] [args="num_heads=4, ..."] [json=report.json]
                 [timeout=120] [seed=0]

  FILE.py:Class  a class derived from torch.nn.Module; the code of the file IS RUN, in a process
                 of its own, with your rights: check only files that you would run yourself
  width          number of channels, where the constructor takes it
  args           further arguments of the constructor: numbers, strings, lists, True, None
  json           also write the report to this file; --json alone prints it instead of the text
  timeout        seconds after which the process is ended
  seed           seed of weights and inputs

The exit code is 0 if no fault was found, 1 if there are faults, 2 if the class cannot be loaded
or the time was over."""


def run(_command: str, words: Sequence[str]) -> int:
    """Warn, check, and print the report."""
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0
    plain, options = read_options(
        words, known=("width", "args", "timeout", "seed"), flags=("json",)
    )
    if len(plain) != 1:
        raise UsageError(f"mlla check needs one FILE.py:Class\n{HELP}")
    file, class_name = _split(plain[0])
    json_file = _json_file(options)
    print(
        f"mlla check: running the code of {file} with your rights; end it with Ctrl-C if you do "
        "not trust it",
        file=sys.stderr,
        flush=True,
    )
    report = check_class(
        file,
        class_name,
        width=int(_positive(options, "width", 64)),
        arguments=read_call_arguments(options.get("args", "")),
        timeout_s=_positive(options, "timeout", 120),
        seed=int(_positive(options, "seed", 0, zero=True)),
    )
    if json_file is None and "json" in options:
        print(report.to_json(), end="")
    else:
        print(report.text())
    if json_file is not None:
        _write_whole(json_file, report.to_json())
    if report.faults:
        return 1
    if not report.is_complete:
        print("mlla check: the time was over; try timeout=600", file=sys.stderr)
        return 2
    return 0


def read_call_arguments(text: str) -> dict[str, Any]:
    """Read "dim=64, num_heads=4" without running anything.

    Args:
        text: What would stand between the parentheses of a call; literals only.

    Returns:
        The arguments by name.

    Raises:
        UsageError: If it is anything else.
    """
    wrong = f'args={text!r} must be names with plain values, such as args="dim=64, num_heads=4"'
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise UsageError(wrong)
        if any(keyword.arg is None for keyword in call.keywords):
            raise UsageError(wrong)
        return {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise UsageError(wrong) from error


def _split(word: str) -> tuple[Path, str]:
    text, colon, name = word.rpartition(":")
    if colon and name.isidentifier():
        return Path(text), name
    file = Path(word)
    if not file.is_file():
        raise UsageError(f"{word!r} is not FILE.py:Class, and no file of that name is here")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{file} is not Python: {error}") from error
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    choices = ", ".join(f"{file}:{name}" for name in classes) or "none"
    raise UsageError(f"which class of {file}? It has {choices}")


def _json_file(options: dict[str, str]) -> Path | None:
    text = options.get("json", "True")
    if value_of(text) is True:
        return None
    path = Path(text)
    if path.suffix != ".json" or path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"json={text!r} must be a file ending in .json in an existing folder")
    return path


def _write_whole(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.writing")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _positive(options: dict[str, str], key: str, default: float, *, zero: bool = False) -> float:
    value = value_of(options[key]) if key in options else default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value < 0 or (value == 0 and not zero):
        raise UsageError(f"{key} must be a positive number, got {options[key]!r}")
    return value
