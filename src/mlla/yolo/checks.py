# SPDX-License-Identifier: AGPL-3.0-only
"""Mistakes that Ultralytics would answer with a download or a puzzle, caught before it starts."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics.data.utils import DATASETS_DIR
from ultralytics.utils import ROOT, SETTINGS

from mlla.data import check_dataset
from mlla.yolo.config import model_config, model_names


def is_offline() -> bool:
    """Return whether nothing may be downloaded, which is so unless the user says otherwise."""
    return os.environ.get("YOLO_OFFLINE", "").lower() not in ("false", "0")


def check_weights_file(weights: str) -> None:
    """Raise where Ultralytics would go to the network for a missing file.

    Raises:
        FileNotFoundError: If the file does not exist and downloads were not asked for.
    """
    if "://" in weights or not is_offline():
        return
    path = Path(weights)
    # as Ultralytics calls the folders that it exports to
    if path.name.endswith("_model") and path.is_dir():
        return
    file = path if path.suffix else Path(f"{weights}.pt")
    folders = (Path(), Path(SETTINGS.get("weights_dir", "")))
    # exports may be folders, checkpoints are not
    exists = Path.is_file if file.suffix == ".pt" else Path.exists
    if not any(exists(folder / file) for folder in folders):
        untrained = f"write {path.stem}.yaml to begin untrained, " if _is_known(path.stem) else ""
        near = get_close_matches(path.name, list(model_names()), n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else " (`mlla models`)"
        raise FileNotFoundError(
            f"model={weights!r} does not exist, neither here ({Path.cwd()}) nor in {folders[1]}. "
            f"Put the file there, {untrained}name a packaged model{hint}, or set the environment "
            "variable YOLO_OFFLINE=false to let Ultralytics download its own weights"
        )


def _is_known(name: str) -> bool:
    """Return whether Ultralytics or this package can build a model of that name."""
    try:
        model_config(f"{name}.yaml")
    except (FileNotFoundError, ValueError):
        return False
    return True


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raise on values that Ultralytics takes and then fails on, or takes as something else.

    Raises:
        ValueError: If `batch`, `imgsz` or `epochs` makes no sense.
    """
    batch = arguments.get("batch", 16)
    if not _is_number(batch) or not (batch == -1 or batch > 0) or (batch > 1 and batch % 1):
        raise ValueError(
            f"batch={batch!r} must be a positive number of images, a fraction of the GPU's memory "
            "in (0, 1), or -1 to find it automatically"
        )
    size = arguments.get("imgsz", 640)
    sizes = size if isinstance(size, list | tuple) else [size]
    if not sizes or not all(_is_number(side) and side > 0 for side in sizes):
        raise ValueError(f"imgsz={size!r} must be positive, in pixels, such as 640")
    epochs = arguments.get("epochs")
    if epochs is not None and not (_is_number(epochs) and epochs >= 1):
        raise ValueError(f"epochs={epochs!r} must be at least 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_data(data: Any, task: str) -> None:
    """Refuse a data set that Ultralytics would download, drop images from or stop on.

    Args:
        data: What training or validation will use as `data`.
        task: Task of the model.

    Raises:
        DataError: If a detection set would stop a training.
        ValueError: If Ultralytics would leave out images of a detection set.
        FileNotFoundError: If the data set is missing and downloads were not asked for.
    """
    if not isinstance(data, str | Path) or "://" in str(data):
        return
    path = Path(data)
    packaged = ROOT / "cfg" / "datasets" / path.name
    if not path.exists() and (packaged.is_file() or task == "classify"):
        _check_named_data(path, packaged)
    elif task == "detect" and (path.suffix in (".yaml", ".yml") or not path.is_file()):
        _check_detection_data(path)


def _check_named_data(path: Path, packaged: Path) -> None:
    """Raise if a data set that Ultralytics knows by name is not in its folder."""
    name = str(path)
    if packaged.is_file():
        name = yaml.safe_load(packaged.read_text(encoding="utf-8")).get("path", path.stem)
    folder = DATASETS_DIR / name
    if is_offline() and not folder.exists():
        raise FileNotFoundError(
            f"data={str(path)!r} does not exist, neither here ({Path.cwd()}) nor as {folder}. Name "
            "a data set that does, or set the environment variable YOLO_OFFLINE=false to let "
            "Ultralytics download its own"
        )


def _check_detection_data(path: Path) -> None:
    report = check_dataset(path, datasets_folder=DATASETS_DIR)
    if report.dropped:
        examples = "\n".join(f"  {problem}" for problem in report.dropped[:5])
        more = f"\n  and {len(report.dropped) - 5} more" if len(report.dropped) > 5 else ""
        raise ValueError(
            f"data={str(path)!r}: Ultralytics would leave out images without saying so:\n"
            f"{examples}{more}\nCorrect or remove them, or write a clean copy: "
            "mlla data convert SRC DST --from yolo"
        )


def what_it_is_not(weights: str, error: Exception) -> str:
    """Return a message for a file that Ultralytics could not open as a checkpoint.

    Args:
        weights: The file.
        error: What Ultralytics raised.
    """
    kind = "not a checkpoint of Ultralytics"
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception:  # the bytes may be anything
        kind = "damaged or not a checkpoint"
    else:
        state = content.get("model", content) if isinstance(content, dict) else None
        if isinstance(state, dict) and any("layers.0." in str(name) for name in state):
            kind = "a state dict of a backbone; load it with mlla.load_published"
    return f"model={weights!r} is {kind} ({type(error).__name__}: {error})"
