# SPDX-License-Identifier: AGPL-3.0-only
"""The YOLO class of Ultralytics, which also knows the packaged models by name."""

from __future__ import annotations

from pathlib import Path

import ultralytics

from mlla.yolo.checked_model import CheckedModel, with_suffix_if_packaged
from mlla.yolo.rtdetr import RTDETR, is_rtdetr
from mlla.yolo.trainers import TRAINERS


class YOLO(CheckedModel, ultralytics.YOLO):
    """`ultralytics.YOLO` for the packaged models: same methods, same results, same files.

    Like `ultralytics.YOLO`, it turns into an `RTDETR` where the model is one.

    Args:
        model: A packaged name (`yolov8n-mlla`, with or without .yaml), a YAML file, a checkpoint,
            or anything else that `ultralytics.YOLO` takes.
        task: Task of the model; by default that of its head.
        verbose: Whether to print the rows of a model built from a YAML.

    Raises:
        FileNotFoundError: If there is no such name or file; nothing is downloaded unless the
            environment variable YOLO_OFFLINE is false.
        ValueError: If the YAML or the checkpoint is not a model, or an RT-DETR is asked for
            another task than detection.
    """

    trainers = TRAINERS

    def __init__(
        self,
        model: str | Path = "yolov8n-mlla.yaml",
        task: str | None = None,
        verbose: bool = False,
    ) -> None:
        model = with_suffix_if_packaged(model)
        if is_rtdetr(model):
            _refuse_other_tasks(model, task)
            # before it is built: the class of the network differs, too
            self.__class__ = RTDETR
            RTDETR.__init__(self, model, verbose=verbose)
            return
        super().__init__(model=model, task=task, verbose=verbose)
        if isinstance(self, ultralytics.RTDETR) or is_rtdetr(self.model):
            _refuse_other_tasks(model, task)
            self.__class__ = RTDETR


def _refuse_other_tasks(model: str | Path, task: str | None) -> None:
    if task not in (None, "detect"):
        raise ValueError(f"task={task!r}: RT-DETR, such as {str(model)!r}, only detects boxes")
