"""`mlla audit`: what the runs that somebody already has are worth."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mlla.cli.arguments import UsageError, read_options, value_of

HELP = """usage: mlla audit RUNS_DIR [data=data.yaml] [baseline=NAME] [arms=...] [json=report.json]
                  [--quick] [--trust]

  RUNS_DIR  a folder with run folders of Ultralytics or `mlla compare`, at any depth; nothing in it
            is changed
  data      the data.yaml to score on; by default the one that the runs name
  baseline  the arm that the others are compared with; by default the unchanged model
  arms      which runs are repetitions of each other: NAME:FOLDER,FOLDER;NAME:FOLDER, or a regular
            expression whose first group in the name of a folder is the arm; by default runs of one
            network with the same arguments but for the seed
  json      also write the report to this file; --json alone prints it instead of the text
  quick     leave out what takes long: predicting with the weights
  trust     load weights that name code of others, which RUNS THAT CODE; without it, checkpoints
            are read without running anything, and loaded only if they hold nothing but layers of
            torch, Ultralytics and mlla

The exit code is 0 if nothing is at fault, 1 if there are faults, 2 if there is nothing to audit."""


def run(_command: str, words: Sequence[str]) -> int:
    """Audit, and print the report."""
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0
    plain, options = read_options(
        _with_json_file(words), known=("data", "baseline", "arms"), flags=("json", "quick", "trust")
    )
    if len(plain) != 1:
        raise UsageError(f"mlla audit needs one RUNS_DIR\n{HELP}")
    json_file = _json_file(options)
    trust = _flag(options, "trust")
    if trust:
        print(
            f"mlla audit: loading the weights in {plain[0]} runs code that they name, with your "
            "rights; end it with Ctrl-C if you do not trust them",
            file=sys.stderr,
            flush=True,
        )
    # numpy and scipy take a while to import
    from mlla.study.audit import audit
    from mlla.study.files import write_whole

    report = audit(
        plain[0],
        data=options.get("data"),
        baseline=options.get("baseline"),
        arms=options.get("arms"),
        quick=_flag(options, "quick"),
        trust=trust,
    )
    if json_file is None and "json" in options:
        print(report.to_json(), end="")
    else:
        print(report.text())
    if json_file is not None:
        write_whole(json_file, report.to_json())
    return 1 if report.faults else 0


def _with_json_file(words: Sequence[str]) -> list[str]:
    """Join `--json FILE.json`; alone, --json is a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--json" and word.endswith(".json"):
            joined[-1] = f"--json={word}"
        else:
            joined.append(word)
    return joined


def _flag(options: dict[str, str], key: str) -> bool:
    value = value_of(options.get(key, "False"))
    if not isinstance(value, bool):
        raise UsageError(f"{key}={options[key]!r} must be True or False")
    return value


def _json_file(options: dict[str, str]) -> Path | None:
    text = options.get("json", "True")
    if value_of(text) is True:
        return None
    path = Path(text)
    if path.suffix != ".json" or path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"json={text!r} must be a file ending in .json in an existing folder")
    return path
