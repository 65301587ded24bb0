# SPDX-License-Identifier: AGPL-3.0-only
"""From the name of a model to its configuration."""

from __future__ import annotations

import re
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

import torch
import torchvision
import ultralytics
import yaml
from ultralytics.nn import tasks

from mlla.yolo.expand import Config, rows_of, with_task
from mlla.yolo.names import (
    Packaged,
    family_of,
    model_names,
    packaged,
    scale_in,
    stock_config,
    unscaled,
)
from mlla.yolo.register import registered_rows

__all__ = ["is_packaged", "model_config", "model_names"]

# rows that make Ultralytics' parser build the class branch of YOLO11 and later
_MODERN = ("C3k2", "A2C2f", "C2fCIB")
# heads that have the branch of YOLOv8 without such a row
_HEADS_OF_TWO_KINDS = ("Detect", "Segment", "Pose", "OBB", "Segment26", "Pose26", "OBB26")


def is_packaged(name: str) -> bool:
    """Return whether `name`, with or without .yaml, is one of this package's models."""
    return packaged(name.removesuffix(".yaml")) is not None


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
        ValueError: If the file is not a model configuration, a row names an unknown module, the
            installed Ultralytics lacks the family, or it would build the head of another family.
    """
    if isinstance(model, dict):
        return deepcopy(model)
    path = Path(model)
    candidates = (path.with_name(f"{stem}{path.suffix}") for stem in unscaled(path.stem))
    local = next((candidate for candidate in candidates if candidate.is_file()), None)
    asked = packaged(path.stem) if path.parent == Path() else None
    if local is not None:
        config = _read(local)
        scale = scale_in(path.stem, config.get("scales") or {})
    elif asked is not None:
        config, scale = _build(asked, path), asked.scale
    else:
        try:
            stock = tasks.yaml_model_load(path)
        except FileNotFoundError:
            known = [f"{name}.yaml" for name in model_names()]
            near = get_close_matches(path.name, known, n=3) or known[:3]
            raise FileNotFoundError(
                f"model={str(model)!r} is neither a file nor a known model; "
                f"did you mean {', '.join(near)}? `mlla models` lists all of them"
            ) from None
        # Ultralytics warns that it takes the only scale there is
        return {**stock, "scale": stock["scale"] or scale_in(path.stem, stock.get("scales") or {})}
    _check_rows(config, path)
    _check_head(config, path)
    if scale and scale not in (config.get("scales") or scale):
        raise ValueError(
            f"{path} asks for scale {scale!r}, but the file has {', '.join(config['scales'])}; "
            "rename it, or add the scale under 'scales'"
        )
    return {**config, "scale": scale, "yaml_file": str(path)}


def _build(asked: Packaged, path: Path) -> Config:
    family = family_of(asked.file.stem)
    if release := asked.missing_release:
        raise ValueError(
            f"model={path.name!r}: {family} needs ultralytics {release} or newer, and "
            f"{ultralytics.__version__} is installed; pip install 'ultralytics>={release},<8.5'"
        )
    config = _read(asked.file)
    if not asked.offered:
        raise ValueError(f"model={path.name!r}: {_why_not_offered(asked, config)}")
    if not asked.suffix:
        return config
    return with_task(config, asked.suffix, stock_config(family, asked.suffix))


def _why_not_offered(asked: Packaged, config: Config) -> str:
    if config["head"][-1][2] == "RTDETRDecoder":
        return f"RT-DETR detects only; leave out -{asked.suffix}"
    family, scale = family_of(asked.file.stem), asked.scale or next(iter(config["scales"]))
    others = [
        f"{name}.yaml"
        for name in model_names()
        if (other := packaged(name)) is not None
        and (other.suffix, other.scale, family_of(other.file.stem)) == ("cls", scale, family)
    ]
    hint = f"; use {', '.join(others[:2])}" if others else ""
    return f"{asked.file.stem} has its blocks in the neck, which a classifier does not have{hint}"


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


def _check_head(config: Config, path: Path) -> None:
    modules = [row[2] for row in rows_of(config)]
    newer = re.search(r"yolo(1[1-9]|[2-9]\d)", path.stem) or any(
        module.startswith((*_MODERN, "C2PSA")) for module in modules
    )
    ours = any(module in registered_rows() for module in modules)
    two_kinds = modules[-1] in _HEADS_OF_TWO_KINDS
    if newer and ours and two_kinds and not any(module in _MODERN for module in modules):
        raise ValueError(
            f"{path}: Ultralytics builds the head of YOLO11 and later only where it finds a C3k2 "
            "or A2C2f of its own, and without one silently takes that of YOLOv8; keep one, such as "
            "row 2 (P2), where MLLA blocks cost most"
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
