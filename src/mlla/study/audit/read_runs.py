"""Where run folders lie, and what is in their files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mlla.study.audit.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.results_csv import read_epochs
from mlla.study.runs.run_folder import JOB, OUTCOME

# folders that hold no runs to be compared
_NOT_RUNS = {"probe", "weights"}


def find_run_folders(root: Path) -> list[Path]:
    """List the folders below `root`, itself included, that look like a training.

    Args:
        root: The folder.

    Returns:
        Folders with an args.yaml or results.csv of a training; those of predictions and
        validations, and the probes of `mlla compare`, are left out.
    """
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _NOT_RUNS and not f.startswith("."))
        # a study has a results.csv, too
        if "study.json" not in files and _is_training(Path(place), files):
            found.append(Path(place))
    return found


def _is_training(folder: Path, files: list[str]) -> bool:
    """Return whether the files of a folder are those of a training."""
    arguments = _read_yaml(folder / "args.yaml")[0] if "args.yaml" in files else {}
    if arguments.get("mode", "train") != "train":
        return False
    weights = any((folder / "weights" / name).is_file() for name in ("best.pt", "last.pt"))
    table = "results.csv" in files and bool(read_epochs(folder / "results.csv").columns)
    return weights or table or "epochs" in arguments


def read_run(folder: Path, root: Path) -> ExistingRun:
    """Read one run folder; what is broken is said in `problems`.

    Args:
        folder: The folder.
        root: The folder that its name starts from.

    Returns:
        The run.
    """
    arguments, problems = _read_yaml(folder / "args.yaml")
    epochs = read_epochs(folder / "results.csv")
    best, last = (
        _read_weights(folder / "weights" / name, problems) for name in ("best.pt", "last.pt")
    )
    name = str(folder.relative_to(root)) if folder != root else folder.resolve().name
    return ExistingRun(
        folder,
        name,
        arguments,
        epochs,
        best,
        last,
        _read_json(folder / JOB, problems),
        _read_json(folder / OUTCOME, problems),
        (*problems, *epochs.problems),
    )


def _read_yaml(file: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        content = yaml.safe_load(file.read_bytes())
    except OSError as error:
        return {}, [f"{file.name} cannot be read ({error.strerror})"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return {}, [f"{file.name} is not YAML ({str(error).splitlines()[0]})"]
    if not isinstance(content, dict):
        return {}, [f"{file.name} holds no arguments"]
    return content, []


def _read_weights(file: Path, problems: list[str]) -> Checkpoint | None:
    try:
        return read_checkpoint(file)
    except FileNotFoundError:
        return None
    except CheckpointError as error:
        problems.append(str(error).replace(str(file), f"weights/{file.name}"))
    except OSError as error:
        problems.append(f"weights/{file.name} cannot be read ({error.strerror})")
    return None


def _read_json(file: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{file.name} cannot be read ({error})")
        return None
    return content if isinstance(content, dict) else None


def read_runs(root: Path) -> Iterator[ExistingRun]:
    """Read every run below a folder, in the order of their names.

    Args:
        root: The folder.

    Yields:
        The runs.
    """
    for folder in find_run_folders(root):
        yield read_run(folder, root)
