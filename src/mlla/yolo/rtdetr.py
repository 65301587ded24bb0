# SPDX-License-Identifier: AGPL-3.0-only
"""The RTDETR class of Ultralytics, which also knows the packaged models by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import ultralytics
from torch import nn
from ultralytics.engine.model import Model
from ultralytics.nn.modules import RTDETRDecoder

from mlla.yolo.checked_model import CheckedModel, with_suffix_if_packaged
from mlla.yolo.config import model_config
from mlla.yolo.trainers import RTDETRTrainer


class RTDETR(CheckedModel, ultralytics.RTDETR):
    """`ultralytics.RTDETR` for the packaged models: same methods, same results, same files.

    Args:
        model: A packaged name (`rtdetr-l-mlla`, with or without .yaml), a YAML file, a checkpoint
            or an exported file of an RT-DETR.
        verbose: Whether to print the rows of a model built from a YAML.

    Raises:
        FileNotFoundError: If there is no such name or file; nothing is downloaded unless the
            environment variable YOLO_OFFLINE is false.
        ValueError: If the YAML or the checkpoint is not a model, or not an RT-DETR.
    """

    trainers: ClassVar = {"detect": RTDETRTrainer}

    def __init__(self, model: str | Path = "rtdetr-l-mlla.yaml", verbose: bool = False) -> None:
        # not that of ultralytics.RTDETR, which only adds the task and takes no verbose
        Model.__init__(self, with_suffix_if_packaged(model), task="detect", verbose=verbose)

    def _new(
        self, cfg: str, task: str | None = None, model: Any = None, verbose: bool = False
    ) -> None:
        _refuse_unless_rtdetr(cfg, cfg)
        super()._new(cfg, task=task, model=model, verbose=verbose)

    def _load(self, weights: str, task: str | None = None) -> None:
        super()._load(weights, task=task)
        if isinstance(self.model, nn.Module):
            _refuse_unless_rtdetr(weights, self.model)


def is_rtdetr(model: object) -> bool:
    """Return whether a YAML, a network or an exported file is an RT-DETR.

    Args:
        model: A network; or a name or file, of which a YAML is read. Files that Ultralytics
            exported are recognised as it does itself: by `rtdetr` in their names.
    """
    if isinstance(model, nn.Module):
        rows = getattr(model, "model", None)
        return isinstance(rows, nn.Sequential) and isinstance(rows[-1], RTDETRDecoder)
    path = Path(str(model).strip())
    if path.suffix.lower() in (".yaml", ".yml"):
        return bool(model_config(path)["head"][-1][2] == RTDETRDecoder.__name__)
    return path.suffix.lower() != ".pt" and "rtdetr" in path.stem.lower()


def _refuse_unless_rtdetr(name: str, model: object) -> None:
    if not is_rtdetr(model):
        raise ValueError(
            f"model={name!r} is no RT-DETR: its last row is not an RTDETRDecoder; "
            "open it with mlla.yolo.YOLO"
        )
