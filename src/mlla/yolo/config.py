# SPDX-License-Identifier: AGPL-3.0-only
"""From the name of a model to its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

import torch
import torchvision
import yaml
from ultralytics.nn import tasks

from mlla.yolo import rows  # the configurations below name its rows
from mlla.yolo.expand import SUFFIX_OF_TASK, TASK_HEADS, Config, rows_of, with_task
from mlla.yolo.register import registered_rows

FOLDER = Path(__file__).parent / "models"
SCALES = "nsmlx"
# as Ultralytics reads names, but nowhere else than in the stem: yolov8s, my-yolov8s_steel
_SCALED_STEM = re.compile(rf"(.*yolov?\d+)([{SCALES}])((?:[^a-z].*)?)")

__all__ = ["is_packaged", "model_config", "model_names", "rows"]


def model_names() -> Iterator[str]:
    """Yield the name of every packaged model, at every scale and for every task it has."""
    for file in sorted(FOLDER.glob("*.yaml")):
        family, architecture = file.stem.split("-", 1)
        config = _read(file)
        for scale in SCALES:
            for task in SUFFIX_OF_TASK.values():
                if task != "cls" or _has_own_rows(config["backbone"]):
                    yield f"{family}{scale}-{architecture}" + (f"-{task}" if task else "")


def is_packaged(name: str) -> bool:
    """Return whether `name`, with or without .yaml, is one of this package's models."""
    stem, _ = _split_scale(name.removesuffix(".yaml"))
    return _packaged_file(stem) is not None


def model_config(model: str | Path | Config) -> Config:
    """Return the configuration of a model by bare name, of a YAML file, or as given.

    The size is read from the file's name (`yolov8n-mlla.yaml` is `yolov8-mlla.yaml` at scale n),
    never from its folder.

    Args:
        model: A packaged or stock name, the path of a YAML file, or a configuration.

    Returns:
        A new dict that Ultralytics' model classes take.

    Raises:
        FileNotFoundError: If there is no such file or name.
        ValueError: If the file is not a model configuration, or a row names an unknown module.
    """
    if isinstance(model, dict):
        return deepcopy(model)
    path = Path(model)
    stem, scale = _split_scale(path.stem)
    candidates = (path, path.with_name(f"{stem}{path.suffix}"))
    local = next((candidate for candidate in candidates if candidate.is_file()), None)
    if local is not None:
        config = _read(local)
    elif (packaged := _packaged(path, stem)) is not None:
        config = packaged
    else:
        try:
            return tasks.yaml_model_load(path)
        except FileNotFoundError:
            known = [f"{name}.yaml" for name in model_names()]
            near = get_close_matches(path.name, known, n=3) or known[:3]
            raise FileNotFoundError(
                f"model={str(model)!r} is neither a file nor a known model; "
                f"did you mean {', '.join(near)}? `mlla models` lists all of them"
            ) from None
    _check_rows(config, path)
    if scale and scale not in (config.get("scales") or scale):
        raise ValueError(
            f"{path} asks for scale {scale!r}, but the file has {', '.join(config['scales'])}; "
            "rename it, or add the scale under 'scales'"
        )
    return {**config, "scale": scale, "yaml_file": str(path)}


def _split_scale(stem: str) -> tuple[str, str]:
    match = _SCALED_STEM.fullmatch(stem)
    return (match[1] + match[3], match[2]) if match else (stem, "")


def _split_task(stem: str) -> tuple[str, str]:
    base, _, suffix = stem.rpartition("-")
    return (base, suffix) if suffix in TASK_HEADS else (stem, "")


def _packaged_file(stem: str) -> Path | None:
    file = FOLDER / f"{_split_task(stem)[0]}.yaml"
    return file if file.is_file() else None


def _packaged(path: Path, stem: str) -> Config | None:
    file = _packaged_file(stem)
    if file is None or path.parent != Path():
        return None
    config = _read(file)
    task = _split_task(stem)[1]
    if task == "cls" and not _has_own_rows(config["backbone"]):
        raise ValueError(
            f"model={path.name!r}: {file.stem} has its MLLA blocks in the neck, which a classifier "
            "does not have; use yolov8n-c2f-mlla-cls.yaml or yolov8n-mlla-backbone-cls.yaml"
        )
    return with_task(config, task) if task else config


def _has_own_rows(part: list[list[object]]) -> bool:
    return any(row[2] in registered_rows() for row in part)


def _read(file: Path) -> Config:
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not readable as YAML: {error}") from error
    parts = [config.get(part) for part in ("backbone", "head")] if isinstance(config, dict) else []
    if not parts or not all(isinstance(part, list) and part for part in parts):
        raise ValueError(
            f"{file} is not a model configuration: it needs the keys 'backbone' and 'head', each "
            "a list of rows [from, repeats, module, arguments]"
        )
    return config


def _check_rows(config: Config, path: Path) -> None:
    known = {name for name, value in vars(tasks).items() if isinstance(value, type)}
    for number, row in enumerate(rows_of(config)):
        if not _is_row(row):
            raise ValueError(
                f"{path}: row {number} is {row!r}, but a row is [from, repeats, module, "
                "[arguments]], where 'from' is one row or a list of rows and 'repeats' at least 1"
            )
        sources = row[0] if isinstance(row[0], list) else [row[0]]
        # the image is row -1 of row 0
        if any(not -max(number, 1) <= source < number for source in sources):
            raise ValueError(f"{path}: row {number} reads from {row[0]}, which is no row before it")
        module = row[2]
        if module in registered_rows() and (
            len(sources) > 1 or not row[3] or not isinstance(row[3][0], int)
        ):
            raise ValueError(
                f"{path}: row {number} is {row!r}, but {module} reads one row and its first "
                "argument is its width"
            )
        if module.startswith("nn."):
            found = hasattr(torch.nn, module[3:])
        elif module.startswith("torchvision.ops."):
            found = hasattr(torchvision.ops, module[16:])
        else:
            found = module in known
        if not found:
            near = get_close_matches(module, known, n=3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise ValueError(
                f"{path}: row {number} names the unknown module {module!r}.{hint} "
                f"Rows of this package: {', '.join(sorted(registered_rows()))}"
            )


def _is_row(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    sources, repeats, module, arguments = row
    numbers = [*(sources if isinstance(sources, list) else [sources]), repeats]
    return (
        all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        and len(numbers) > 1
        and repeats > 0
        and isinstance(module, str)
        and isinstance(arguments, list)
    )
