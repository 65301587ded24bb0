# SPDX-License-Identifier: AGPL-3.0-only
"""From the name of a model to its configuration."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

import ultralytics
import yaml
from ultralytics.nn import tasks

from mlla.yolo.config_checks import check_head, check_rows
from mlla.yolo.expand import Config, with_task
from mlla.yolo.names import (
    Packaged,
    family_of,
    letter_in,
    model_names,
    packaged,
    scale_in,
    stock_config,
    unscaled,
)

__all__ = ["is_packaged", "model_config", "model_names"]


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
    local = _read_local(path)
    asked = packaged(path.stem) if path.parent == Path() else None
    if local is not None:
        config = local
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
    check_rows(config, path)
    check_head(config, path)
    if scale and scale not in (config.get("scales") or scale):
        raise ValueError(
            f"{path} asks for scale {scale!r}, but the file has {', '.join(config['scales'])}; "
            "rename it, or add the scale under 'scales'"
        )
    return {**config, "scale": scale, "yaml_file": str(path)}


def local_file(model: str | Path) -> Path | None:
    """Return the file of the user that a model is read from: that of the name, or without scale.

    Args:
        model: What `model_config` takes, with its suffix.

    Returns:
        `yolov8-own.yaml` for `yolov8n-own.yaml`, if there is no file of the longer name; None if
        the model is a packaged or stock one.

    Raises:
        ValueError: If the file is not a model configuration.
    """
    path = Path(model)
    for stem in unscaled(path.stem):
        file = path.with_name(f"{stem}{path.suffix}")
        if file.is_file() and (
            stem == path.stem or letter_in(path.stem, _read(file).get("scales") or {})
        ):
            return file
    return None


def _read_local(path: Path) -> Config | None:
    file = local_file(path)
    return None if file is None else _read(file)


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
