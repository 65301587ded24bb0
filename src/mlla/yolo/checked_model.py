# SPDX-License-Identifier: AGPL-3.0-only
"""What our model classes add to those of Ultralytics: names, checks, weights row by row."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import ultralytics
from torch import nn
from ultralytics.cfg import TASK2DATA
from ultralytics.engine.model import Model
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import DEFAULT_CFG_DICT

from mlla.yolo.activation import own_activation
from mlla.yolo.checks import check_arguments, check_data, check_weights_file, what_it_is_not
from mlla.yolo.cls_loss import check_class_loss
from mlla.yolo.config import is_packaged, model_config
from mlla.yolo.transfer import aligned

# what reading a file of arbitrary bytes, or one cut short, raises
_UNREADABLE = (KeyError, AttributeError, TypeError, EOFError, OSError, pickle.UnpicklingError)

Given = TypeVar("Given")
Self = TypeVar("Self", bound="CheckedModel")


def with_suffix_if_packaged(model: Given) -> Given | str:
    """Return what Ultralytics takes for a YAML if `model` is a packaged name, else `model`."""
    name = str(model).strip() if isinstance(model, str | Path) else None
    if name is not None and not Path(name).exists() and is_packaged(name):
        return f"{name.removesuffix('.yaml')}.yaml"
    return model


class CheckedModel(Model):
    """Mixed into a model class of Ultralytics, before it; alone it opens any checkpoint."""

    trainers: ClassVar[Mapping[str, type]] = {}

    def _new(
        self, cfg: str, task: str | None = None, model: Any = None, verbose: bool = False
    ) -> None:
        # Ultralytics looks names up by a pattern over the whole path; this does not
        config = model_config(cfg)
        self.cfg = cfg
        self.task = task or guess_model_task(config)
        with own_activation():
            self.model = (model or self._smart_load("model"))(config, verbose=verbose)
        self.overrides.update(model=cfg, task=self.task)
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}
        self.model.task = self.task
        self.model_name = cfg

    def _load(self, weights: str, task: str | None = None) -> None:
        check_weights_file(weights)
        try:
            super()._load(weights, task=task)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"model={weights!r} needs the module {error.name!r}, which is not found; if that "
                "is the file of a block that was plugged in, put its folder on PYTHONPATH",
                name=error.name,
            ) from error
        except _UNREADABLE as error:
            raise ValueError(what_it_is_not(weights, error)) from error
        except RuntimeError as error:
            if "PytorchStreamReader" not in str(error) and "zip" not in str(error):
                raise
            raise ValueError(what_it_is_not(weights, error)) from error

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Map tasks to model, trainer, validator and predictor; the trainers are ours."""
        return {
            task: {**parts, "trainer": self.trainers.get(task, parts.get("trainer"))}
            for task, parts in super().task_map.items()
        }

    def load(self: Self, weights: str | Path | nn.Module) -> Self:
        """Load pretrained weights, matched row by row.

        Rows that the two models share keep their weights even where the numbering differs, as it
        does between yolov8n.pt and yolov8n-mlla.

        Args:
            weights: A checkpoint or a model.

        Returns:
            This model.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a checkpoint.
        """
        path = weights if isinstance(weights, str | Path) else None
        if path is not None and Path(path).suffix in (".yaml", ".yml"):
            raise ValueError(f"weights={str(path)!r} describes a model without weights; name a .pt")
        source = weights if path is None else CheckedModel(path).model
        self.model.load(aligned(source, self.model.yaml))
        self.overrides.pop("pretrained", None)
        if path is not None:
            self.overrides["pretrained"] = str(path)
        # training starts from these weights only where a checkpoint is known
        self.ckpt = {"model": self.model}
        self.ckpt_path = None
        self.predictor = None
        return self

    def save(self, filename: str | Path = "saved_model.pt") -> None:
        """Save the model as a checkpoint that any Ultralytics opens as the task it is for.

        Args:
            filename: Where to.
        """
        checkpoint = self.ckpt
        # older releases read the task of a checkpoint from the arguments it was trained with
        arguments = (checkpoint or {}).get("train_args") or getattr(self.model, "args", {})
        self.ckpt = {**(checkpoint or {}), "train_args": {**dict(arguments), "task": self.task}}
        # a training that was interrupted leaves its criterion, which is no part of the model
        criterion = getattr(self.model, "criterion", None)
        if criterion is not None:
            del self.model.criterion
        try:
            super().save(filename)
        finally:
            self.ckpt = checkpoint
            if criterion is not None:
                self.model.criterion = criterion

    def train(self, trainer: Any = None, **kwargs: Any) -> Any:
        """Train as Ultralytics does, after the arguments and the dataset were checked.

        Args:
            trainer: Class of the trainer; by default that of the task.
            **kwargs: Those of Ultralytics; and `cls_loss`, one of "bce", "slide", "ema_slide",
                "focal", "varifocal" and "quality_focal".

        Raises:
            FileNotFoundError: If the dataset or the pretrained weights are missing.
            ValueError: If an argument makes no sense, the dataset is broken, or there is nothing
                to resume.
        """
        check_arguments(kwargs)
        if kwargs.get("cls_loss") is None:
            kwargs.pop("cls_loss", None)
        else:
            # named, since Ultralytics leaves training on several datasets to its own otherwise
            trainer = trainer or self._smart_load("trainer")
            self._check_is_pytorch_model()
            check_class_loss(kwargs["cls_loss"], self.model, self.task, trainer)
        resume = kwargs.get("resume") or False
        if not resume:
            self._check_data(kwargs)
            self._check_launch(kwargs)
            if isinstance(pretrained := kwargs.get("pretrained"), str | Path):
                self.load(pretrained)
        elif resume is True:
            self._check_resumable()
        return super().train(trainer=trainer, **kwargs)

    def val(self, validator: Any = None, **kwargs: Any) -> Any:
        """Validate as Ultralytics does, after the arguments and the dataset were checked.

        Raises:
            FileNotFoundError: If the dataset is missing.
            ValueError: If an argument makes no sense or the dataset is broken.
        """
        check_arguments(kwargs)
        self._check_data(kwargs)
        return super().val(validator=validator, **kwargs)

    def predict(
        self, source: Any = None, stream: bool = False, predictor: Any = None, **kwargs: Any
    ) -> Any:
        """Predict as Ultralytics does, after the arguments were checked.

        Raises:
            ValueError: If an argument makes no sense.
        """
        check_arguments(kwargs)
        return super().predict(source, stream, predictor, **kwargs)

    def export(self, **kwargs: Any) -> Any:
        """Export as Ultralytics does, after the arguments were checked.

        Raises:
            ValueError: If an argument makes no sense.
        """
        check_arguments(kwargs)
        return super().export(**kwargs)

    def _check_data(self, arguments: dict[str, Any]) -> None:
        given = arguments.get("data")
        if not arguments.get("cfg"):
            # what Ultralytics falls back on: the data of the checkpoint, or a set it downloads
            check_data(given or self.overrides.get("data") or TASK2DATA[self.task], self.task)
        if isinstance(given, str | Path) and Path(given).exists():
            # 8.3.70 does not find a relative path
            arguments["data"] = str(Path(given).resolve())

    def _check_resumable(self) -> None:
        checkpoint = self.ckpt or {}
        if checkpoint.get("epoch", -1) < 0 or checkpoint.get("optimizer") is None:
            raise ValueError(
                f"resume: {self.ckpt_path or 'this model'} is no interrupted training, so there is "
                "nothing to go on with; train it further with data=... and epochs=... instead"
            )

    def _check_launch(self, arguments: dict[str, Any]) -> None:
        devices = arguments.get("device")
        several = isinstance(devices, list | tuple) or "," in str(devices)
        in_memory = self.ckpt and not self.ckpt_path and "plug" in self.model.yaml
        version = tuple(int(n) for n in ultralytics.__version__.split(".")[:3])
        if several and version >= (8, 4, 145):
            try:
                import_module("cloudpickle")
            except ModuleNotFoundError as error:
                raise ModuleNotFoundError(
                    f"device={devices!r}: ultralytics {ultralytics.__version__} sends the model to "
                    "its processes by a package that is missing: pip install 'cloudpickle>=3.1.1'"
                ) from error
        if several and in_memory and version < (8, 4, 145):
            raise ValueError(
                f"device={devices!r}: ultralytics {ultralytics.__version__} starts its processes "
                "from a file and would lose the inserted blocks; save the model first: "
                "model.save('plugged.pt'), then YOLO('plugged.pt').train(...)"
            )
