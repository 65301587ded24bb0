# SPDX-License-Identifier: AGPL-3.0-only
"""The YOLO class of Ultralytics, which also knows the packaged models by name."""

from __future__ import annotations

import os
import pickle
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import DATASETS_DIR, DEFAULT_CFG_DICT, ROOT, SETTINGS

from mlla.data import check_dataset
from mlla.yolo.config import is_packaged, model_config, model_names
from mlla.yolo.trainers import TRAINERS
from mlla.yolo.transfer import aligned


class YOLO(ultralytics.YOLO):
    """`ultralytics.YOLO` for the packaged models: same methods, same results, same files.

    Args:
        model: A packaged name (`yolov8n-mlla`, with or without .yaml), a YAML file, a checkpoint,
            or anything else that `ultralytics.YOLO` takes.
        task: Task of the model; by default that of its head.
        verbose: Whether to print the rows of a model built from a YAML.

    Raises:
        FileNotFoundError: If there is no such name or file; nothing is downloaded unless the
            environment variable YOLO_OFFLINE is false.
        ValueError: If the YAML or the checkpoint is not a model.
    """

    def __init__(
        self,
        model: str | Path = "yolov8n-mlla.yaml",
        task: str | None = None,
        verbose: bool = False,
    ) -> None:
        name = str(model).strip() if isinstance(model, str | Path) else None
        if name is not None and not Path(name).exists() and is_packaged(name):
            model = f"{name.removesuffix('.yaml')}.yaml"
        super().__init__(model=model, task=task, verbose=verbose)

    def _new(
        self, cfg: str, task: str | None = None, model: Any = None, verbose: bool = False
    ) -> None:
        # Ultralytics looks names up by a pattern over the whole path; this does not
        config = model_config(cfg)
        self.cfg = cfg
        self.task = task or guess_model_task(config)
        self.model = (model or self._smart_load("model"))(config, verbose=verbose)
        self.overrides.update(model=cfg, task=self.task)
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}
        self.model.task = self.task
        self.model_name = cfg

    def _load(self, weights: str, task: str | None = None) -> None:
        check_weights_file(weights)
        try:
            super()._load(weights, task=task)
        except (KeyError, AttributeError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(_not_a_checkpoint(weights, error)) from error
        except RuntimeError as error:
            if "PytorchStreamReader" not in str(error) and "zip" not in str(error):
                raise
            raise ValueError(_not_a_checkpoint(weights, error)) from error

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Map tasks to model, trainer, validator and predictor; the trainers are ours."""
        return {
            task: {**parts, "trainer": TRAINERS.get(task, parts.get("trainer"))}
            for task, parts in super().task_map.items()
        }

    def load(self, weights: str | Path | nn.Module) -> YOLO:
        """Load pretrained weights, matched row by row.

        Rows that the two models share keep their weights even where the numbering differs, as it
        does between yolov8n.pt and yolov8n-mlla.

        Args:
            weights: A checkpoint or a model.

        Returns:
            This model.
        """
        path = weights if isinstance(weights, str | Path) else None
        source = weights if path is None else YOLO(path).model
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
        try:
            super().save(filename)
        finally:
            self.ckpt = checkpoint

    def train(self, trainer: Any = None, **kwargs: Any) -> Any:
        """Train as Ultralytics does, after the arguments and the dataset were checked.

        Raises:
            FileNotFoundError: If the dataset or the pretrained weights are missing.
            ValueError: If an argument makes no sense or the dataset is broken.
        """
        check_arguments(kwargs)
        resume = kwargs.get("resume") or False
        if not resume:
            self._check_data(kwargs)
            self._check_launch(kwargs)
            if isinstance(pretrained := kwargs.get("pretrained"), str | Path):
                self.load(pretrained)
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

    def _check_data(self, arguments: dict[str, Any]) -> None:
        """Refuse a detection dataset from which Ultralytics would drop images or stop on."""
        data = arguments.get("data")
        if self.task != "detect" or not isinstance(data, str | Path):
            return
        stock = ROOT / "cfg" / "datasets" / Path(data).name
        if not Path(data).exists() and stock.exists():
            return
        report = check_dataset(data, datasets_folder=DATASETS_DIR)
        if report.dropped:
            examples = "\n".join(f"  {problem}" for problem in report.dropped[:5])
            more = f"\n  and {len(report.dropped) - 5} more" if len(report.dropped) > 5 else ""
            raise ValueError(
                f"data={str(data)!r}: Ultralytics would leave out images without saying so:\n"
                f"{examples}{more}\nCorrect or remove them, or write a clean copy: "
                "mlla data convert SRC DST --from yolo"
            )
        # 8.3.70 does not find a relative path
        arguments["data"] = str(Path(data).resolve())

    def _check_launch(self, arguments: dict[str, Any]) -> None:
        devices = arguments.get("device")
        several = isinstance(devices, list | tuple) or "," in str(devices)
        in_memory = self.ckpt and not self.ckpt_path and "plug" in self.model.yaml
        version = tuple(int(n) for n in ultralytics.__version__.split(".")[:3])
        if several and in_memory and version < (8, 4, 145):
            raise ValueError(
                f"device={devices!r}: ultralytics {ultralytics.__version__} starts its processes "
                "from a file and would lose the inserted blocks; save the model first: "
                "model.save('plugged.pt'), then YOLO('plugged.pt').train(...)"
            )


def check_weights_file(weights: str) -> None:
    """Raise where Ultralytics would go to the network for a missing file.

    Raises:
        FileNotFoundError: If the file does not exist and downloads were not asked for.
    """
    path = Path(weights)
    remote = "://" in weights or os.environ.get("YOLO_OFFLINE", "").lower() in ("false", "0")
    folders = (Path(), Path(SETTINGS.get("weights_dir", "")))
    with_suffix = path if path.suffix else Path(f"{weights}.pt")
    if not remote and not any((folder / with_suffix).exists() for folder in folders):
        near = get_close_matches(path.name, list(model_names()), n=3)
        hint = f" (did you mean {', '.join(near)}?)" if near else ""
        raise FileNotFoundError(
            f"model={weights!r} does not exist, neither here ({Path.cwd()}) nor in {folders[1]}. "
            f"Put the file there, name a packaged model{hint or ' (`mlla models`)'}, or set the "
            "environment variable YOLO_OFFLINE=false to let Ultralytics download its own weights"
        )


def check_arguments(arguments: dict[str, Any]) -> None:
    """Raise on values that Ultralytics takes and then fails on, or takes as something else.

    Raises:
        ValueError: If `batch`, `imgsz` or `epochs` makes no sense.
    """
    batch = arguments.get("batch", 16)
    if isinstance(batch, bool) or not (batch == -1 or batch > 0):
        raise ValueError(
            f"batch={batch!r} must be a positive number of images, a fraction of the GPU's memory "
            "in (0, 1), or -1 to find it automatically"
        )
    sizes = arguments.get("imgsz", 640)
    if any(size <= 0 for size in (sizes if isinstance(sizes, list | tuple) else [sizes])):
        raise ValueError(f"imgsz={sizes!r} must be positive, in pixels, such as 640")
    epochs = arguments.get("epochs", 100)
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs={epochs!r} must be at least 1")


def _not_a_checkpoint(weights: str, error: Exception) -> str:
    kind = "not a checkpoint of Ultralytics"
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError):
        kind = "damaged or not a checkpoint"
    else:
        state = content.get("model", content) if isinstance(content, dict) else None
        if isinstance(state, dict) and any("layers.0." in str(name) for name in state):
            kind = "a state dict of a backbone; load it with mlla.load_published"
    return f"model={weights!r} is {kind} ({type(error).__name__}: {error})"
