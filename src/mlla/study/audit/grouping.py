"""Runs that are repetitions of each other: the arms of what was tried."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from mlla.study.audit.arguments import effective_arguments, unique
from mlla.study.audit.existing_run import ExistingRun

# a longer description is no name
_LONGEST = 40
_NAMED = re.compile(r"\s*([\w.+@ -]+?)\s*:(.+)")
# classes of the first two are in every model, those of mlla in the models of this package
_STOCK = ("torch.", "torchvision.", "ultralytics.nn.modules.", "ultralytics.nn.tasks.")


@dataclass(frozen=True)
class RunGroup:
    """Runs that are said to be repetitions of one training.

    Attributes:
        name: What to call them.
        runs: The runs, in the order of their seeds.
        special: How they differ from other runs of the same model, where the name does not say it.
    """

    name: str
    runs: tuple[ExistingRun, ...]
    special: str = ""

    @cached_property
    def distinct(self) -> tuple[ExistingRun, ...]:
        """Finished runs with numbers of their own: of copies, only the first."""
        kept: dict[Any, ExistingRun] = {}
        for run in self.runs:
            usable = run.scores and not run.is_interrupted and not run.epochs.bad_epochs
            if usable:
                kept.setdefault(run.epochs.measured, run)
        return tuple(kept.values())

    @property
    def is_stock(self) -> bool:
        """Whether its networks have layers of Ultralytics alone, as far as checkpoints tell."""
        found = [run.checkpoint for run in self.runs if run.checkpoint is not None]
        return bool(found) and all(name.startswith(_STOCK) for c in found for name in c.names.built)


def group_runs(runs: Sequence[ExistingRun], asked: str | None = None) -> list[RunGroup]:
    """Group runs into arms.

    Args:
        runs: The runs.
        asked: None to put runs of the same network with the same arguments, but for the seed,
            together; "NAME:FOLDER,FOLDER;NAME:FOLDER" to name the folders of each arm; or a
            regular expression, whose first group (or all that it matches) in the name of a
            folder is the name of its arm.

    Returns:
        The arms.

    Raises:
        ValueError: If the folders or the expression fit no run.
    """
    if asked is None:
        return _by_content(runs)
    if all(_NAMED.fullmatch(part) for part in asked.split(";")):
        named = _by_folders(runs, asked)
    else:
        named = _by_expression(runs, asked)
    return [RunGroup(name, _ordered(found)) for name, found in named.items()]


def choose_baseline(groups: Sequence[RunGroup], asked: str | None = None) -> RunGroup:
    """Choose the arm that the others are compared with.

    Args:
        groups: The arms.
        asked: Name of the baseline, or None for the unchanged model of Ultralytics with the most
            runs.

    Returns:
        The baseline.

    Raises:
        ValueError: If no arm is called so.
    """
    for group in groups:
        is_marked = any(run.arm.get("kind") == "baseline" for run in group.runs)
        if group.name == asked or (asked is None and is_marked):
            return group
    if asked is not None:
        names = ", ".join(group.name for group in groups)
        raise ValueError(f"baseline={asked!r} is none of the arms: {names}")
    return max(groups, key=lambda group: (group.is_stock, len(group.distinct), -len(group.name)))


def fingerprint(run: ExistingRun) -> str | None:
    """Return a digest of the names and shapes of a run's weights; None without a checkpoint."""
    if run.checkpoint is None or not run.checkpoint.tensors:
        return None
    shapes = [(name, stored.shape) for name, stored in run.checkpoint.tensors.items()]
    return hashlib.sha256(repr(shapes).encode()).hexdigest()


def _ordered(runs: Sequence[ExistingRun]) -> tuple[ExistingRun, ...]:
    return tuple(sorted(runs, key=lambda run: (run.seed or 0, run.name)))


def _by_content(runs: Sequence[ExistingRun]) -> list[RunGroup]:
    networks: dict[tuple[str, str | None], list[ExistingRun]] = {}
    for run in runs:
        model = run.arm.get("name") or _model_before_resume(run, runs)
        networks.setdefault((str(model), fingerprint(run)), []).append(run)
    same = [group for found in networks.values() for group in _by_arguments(found)]
    by_stem: dict[str, list[list[ExistingRun]]] = {}
    for found in same:
        by_stem.setdefault(_stem(found), []).append(found)
    groups = []
    for stem, rivals in by_stem.items():
        special = [_what_is_special(group, rivals) for group in rivals]
        is_short = len(set(special)) == len(rivals) and max(map(len, special)) <= _LONGEST
        for number, (group, text) in enumerate(zip(rivals, special, strict=True), 1):
            if len(rivals) == 1:
                groups.append(RunGroup(stem, _ordered(group)))
            elif is_short:
                groups.append(RunGroup(f"{stem} {text}", _ordered(group)))
            else:
                groups.append(RunGroup(f"{stem} #{number}", _ordered(group), text))
    return groups


def _by_arguments(runs: Sequence[ExistingRun]) -> list[list[ExistingRun]]:
    """Part runs of one network by their arguments."""
    arguments = [effective_arguments(run) for run in runs]
    keys = {key for one in arguments for key in one}
    if len(unique(run.version for run in runs)) > 1:
        # one release does not know all arguments of another
        keys = {key for key in keys if all(key in one for one in arguments)}
    parted: dict[str, list[ExistingRun]] = {}
    for run, one in zip(runs, arguments, strict=True):
        values = [(key, _written_alike(one.get(key))) for key in sorted(keys)]
        parted.setdefault(repr(values), []).append(run)
    return list(parted.values())


def _written_alike(value: Any) -> Any:
    """Return 0, 0.0 and False as one and the same, since releases write either."""
    return float(value) if isinstance(value, int | float) else value


def _model_before_resume(run: ExistingRun, runs: Sequence[ExistingRun]) -> str:
    """Return the model of the runs that a resumed one, which has lost the name, belongs to."""
    if not run.was_resumed or fingerprint(run) is None:
        return run.model
    same = [
        other.model
        for other in runs
        if not other.was_resumed
        and fingerprint(other) == fingerprint(run)
        and effective_arguments(other) == effective_arguments(run)
    ]
    return same[0] if len(unique(same)) == 1 else run.model


def _stem(group: Sequence[ExistingRun]) -> str:
    arm = group[0].arm.get("name")
    return str(arm) if arm else PurePath(group[0].model.replace("\\", "/")).stem


def _what_is_special(group: list[ExistingRun], rivals: list[list[ExistingRun]]) -> str:
    """Say in which arguments a group differs from others of the same model."""
    first = effective_arguments(group[0])
    rival_arguments = [effective_arguments(rival[0]) for rival in rivals]
    words = []
    for key, value in first.items():
        values = unique(arguments[key] for arguments in rival_arguments if key in arguments)
        if len(values) > 1:
            words.append(f"{key}={_end_of_path(value, values)}")
    suffixes = {PurePath(rival[0].model).suffix for rival in rivals}
    if len(suffixes) > 1:
        words.insert(0, f"from {PurePath(group[0].model).suffix or group[0].model}")
    elif not words and group[0].checkpoint is not None:
        words.append(f"of {group[0].checkpoint.num_parameters:,} parameters")
    return " ".join(words)


def _end_of_path(value: Any, values: Sequence[Any]) -> str:
    """Return the last parts of a path by which it differs from others; other values whole."""
    parts = [PurePath(str(other).replace("\\", "/")).parts for other in values]
    own = PurePath(str(value).replace("\\", "/")).parts
    for count in range(1, len(own)):
        if sum(other[-count:] == own[-count:] for other in parts) == 1:
            return "/".join(own[-count:])
    return str(value)


def _by_folders(runs: Sequence[ExistingRun], asked: str) -> dict[str, list[ExistingRun]]:
    known = {run.name: run for run in runs}
    named: dict[str, list[ExistingRun]] = {}
    for part in asked.split(";"):
        match = _NAMED.fullmatch(part)
        if match is None:
            raise ValueError(f"arms={asked!r} is not NAME:FOLDER,FOLDER;NAME:FOLDER")
        folders = [folder.strip().rstrip("/") for folder in match[2].split(",")]
        missing = [folder for folder in folders if folder not in known]
        if missing:
            raise ValueError(
                f"arms={asked!r} names {', '.join(missing)}, but the runs are {', '.join(known)}"
            )
        named.setdefault(match[1], []).extend(known[folder] for folder in folders)
    return named


def _by_expression(runs: Sequence[ExistingRun], asked: str) -> dict[str, list[ExistingRun]]:
    try:
        expression = re.compile(asked)
    except re.error as error:
        raise ValueError(f"arms={asked!r} is no regular expression: {error}") from error
    named: dict[str, list[ExistingRun]] = {}
    for run in runs:
        if match := expression.search(run.name):
            name = match[1] if expression.groups else match[0]
            named.setdefault(name or match[0], []).append(run)
    if not named:
        raise ValueError(
            f"arms={asked!r} fits none of the runs: {', '.join(run.name for run in runs)}"
        )
    return named
