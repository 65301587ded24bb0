"""What a user asks `compare` for, checked as far as that goes without looking at the data."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlla.study.files import file_digest
from mlla.study.planning.arms import Arm

LANGUAGES = ("en", "zh")
# where nobody says how many processors a run has on a cluster
CLUSTER_THREADS = 4
PACKAGES = ("mlla", "ultralytics", "torch", "numpy", "hotcoco")


def check_choices(arguments: Mapping[str, Any]) -> None:
    """Raise on arguments of `compare` that make no sense.

    Args:
        arguments: The arguments by name.

    Raises:
        ValueError: If one makes no sense.
        FileNotFoundError: If there are no such weights.
        ModuleNotFoundError: If a runtime is not installed.
    """
    from mlla.study.costs.runtimes import check_runtimes

    seeds, margin = arguments["seeds"], arguments["margin"]
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise ValueError(
            f"seeds={seeds!r} must be the number of runs of each arm, 1 or more; a verdict takes 4"
        )
    if not (_is_number(margin) and 0 < margin < 1):
        raise ValueError(
            f"margin={margin!r} must be the smallest gain of AP that matters, as a fraction: 0.005 "
            "is half a point"
        )
    for key, choices in (("checkpoint", ("best", "last")), ("language", LANGUAGES)):
        value = arguments[key]
        if value not in choices and not (key == "checkpoint" and value is None):
            raise ValueError(f"{key}={value!r} is unknown; choose from {', '.join(choices)}")
    executor, test, loaders = (arguments[k] for k in ("executor", "test", "loader_workers"))
    if executor != "local" and arguments["workers"] is not None:
        raise ValueError(
            "workers= is the number of runs at a time on this machine; a cluster decides"
        )
    if test is not None and not (_is_number(test) and 0 < test < 1):
        raise ValueError(f"test={test!r} must be a share of the training images, such as 0.2")
    if loaders is not None and (not isinstance(loaders, int) or loaders < 0):
        raise ValueError(f"loader_workers={loaders!r} must be a number of processes, 0 or more")
    pretrained = arguments["pretrained"]
    if pretrained is not None and not Path(pretrained).is_file():
        raise FileNotFoundError(
            f"pretrained={str(pretrained)!r} does not exist; give the path of a checkpoint, or "
            "leave it out to train from scratch"
        )
    check_runtimes(arguments["runtimes"])


def make_request(
    *,
    command: str,
    arms: Sequence[Arm],
    num_seeds: int,
    data: Path,
    test: float | None,
    near_duplicates: bool,
    checkpoint: str,
    pretrained: str | None,
    settings: Mapping[str, Any],
    margin: float,
    threads: int,
) -> dict[str, Any]:
    """Return what a user asks for: the plan, but for what has to be measured first.

    Args:
        command: The words that ask for it.
        arms: The arms, the baseline first.
        num_seeds: Runs of each arm.
        data: The data.yaml.
        test: Share of the training images that make the test split, if it has to be made.
        near_duplicates: Whether near-duplicates are searched for.
        checkpoint: "best" or "last".
        pretrained: Checkpoint that all arms start from.
        settings: Arguments of the trainings.
        margin: The smallest gain of AP that matters.
        threads: Threads of each run.
    """
    return {
        "command": command,
        "arms": [arm.to_dict() for arm in arms],
        "seeds": list(range(num_seeds)),
        "data": {"yaml": str(data), "test": test, "near_duplicates": near_duplicates},
        "checkpoint": checkpoint,
        "pretrained": pretrained,
        "settings": dict(settings),
        "threads": threads,
        "versions": {
            **{package: version(package) for package in PACKAGES},
            "python": platform.python_version(),
        },
        "margin": margin,
        "files": {str(file): file_digest(file) for file in _files(arms, pretrained)},
    }


def command_of(
    arguments: Mapping[str, Any],
    defaults: Mapping[str, Any],
    command: Sequence[str] = ("mlla", "compare"),
) -> str:
    """Return the words of the command line that ask for the same.

    Args:
        arguments: The arguments of `compare`, or of another study, by name.
        defaults: Their defaults, which are left out.
        command: The first words.
    """
    words = list(command)
    for key, value in arguments.items():
        if key in defaults and value == defaults[key]:
            continue
        if key == "add":
            words.append(f"add={';'.join(value)}")
        elif isinstance(value, list | tuple):
            words.append(f"{key}={','.join(map(str, value))}")
        elif not isinstance(value, Executor):
            words.append(f"{key}={value}")
    return shlex.join(words)


def threads_of_each(num_at_a_time: int, options: Mapping[str, Any]) -> int:
    """Return how many threads each run may use.

    Args:
        num_at_a_time: Processes that share this machine.
        options: Those of a cluster, where another machine counts.
    """
    for key in ("slurm_cpus_per_task", "ray_num_cpus"):
        if key in options:
            return max(int(options[key]), 1)
    if options:
        return CLUSTER_THREADS
    return max((os.cpu_count() or 1) // num_at_a_time, 1)


def as_words(given: str | Path | Sequence[Any]) -> list[str]:
    """Return a list, also of one word that somebody did not put into a list."""
    return [str(given)] if isinstance(given, str | Path) else [str(item) for item in given]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _files(arms: Sequence[Arm], pretrained: str | None) -> Iterator[Path]:
    """Yield the user's own files that a network is made of."""
    for arm in arms:
        if Path(arm.model).is_absolute():
            yield Path(arm.model)
        for folder in arm.python_path:
            module = str(arm.block).rpartition(":")[0].rpartition(":")[2]
            file = Path(folder, *module.split(".")).with_suffix(".py")
            if file.is_file():
                yield file
    if pretrained is not None:
        yield Path(pretrained)
