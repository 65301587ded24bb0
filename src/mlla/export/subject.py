"""What can be exported: one interface over detectors of Ultralytics and other networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from mlla.export.difference import DetectorLayout
from mlla.export.network_subject import NetworkSubject, open_folder
from mlla.export.plan import Plan
from mlla.export.runners import Run


class Subject(Protocol):
    """A model that can be exported.

    Attributes:
        name: What its files are called, without a suffix.
        home: Where they go by default.
        channels: Of its images.
        step: What height and width must be multiples of.
        default_px: Height and width by default.
        pixel_range: Least and largest value of its pixels.
        is_open_by_default: Whether its files take any size unless told otherwise.
        formats: What it can be exported to.
    """

    name: str
    home: Path
    channels: int
    step: int
    default_px: int
    pixel_range: tuple[float, float]
    is_open_by_default: bool
    formats: Sequence[str]

    def check(self, plan: Plan) -> None:
        """Raise a ValueError if it cannot be exported so."""

    def reference(self, plan: Plan) -> nn.Module:
        """Return the network, with the outputs of the file."""

    def deployed(self, plan: Plan) -> nn.Module:
        """Return the network as PyTorch deploys it."""

    def layout(self, plan: Plan) -> DetectorLayout | None:
        """Return what the first output means."""

    def write(self, plan: Plan, folder: Path) -> Path:
        """Write the file into a folder, under its final name."""

    def score(self, plan: Plan, folder: Path, exported: tuple[Path, Run] | None) -> float:
        """Return the score of an exported file, or of the network, on the plan's data."""

    def measure(self) -> str | None:
        """Return what `score` measures; None if this model cannot be scored here."""


def open_subject(model: str | Path | nn.Module | Any, stem: str | None = None) -> Subject:
    """Find what can be exported.

    Args:
        model: A checkpoint, a YAML or a packaged name of a detector, or an opened detector; a
            folder that `save_pretrained` or a training of this package wrote, a published .pth, or
            a name of timm; or any network that turns an image into tensors.
        stem: What the file shall be called; by default what the model is called.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If it cannot be exported.
    """
    if isinstance(model, str | Path):
        path = Path(str(model).strip())
        if path.is_dir():
            return open_folder(path, stem)
        if path.suffix.lower() in (".pt", ".yaml", ".yml") or _is_packaged(str(path)):
            return _open_detector(path, stem)
        return _open_name(path, stem)
    if hasattr(model, "task_map"):
        from mlla.export.detector_subject import DetectorSubject

        return DetectorSubject(model, stem)
    if isinstance(model, nn.Module):
        if stem is None:
            raise ValueError("a network alone has no name; give one: stem='my-model'")
        return NetworkSubject(model, stem)
    raise ValueError(
        f"model is a {type(model).__name__}; give a path, a name, a YOLO or a torch.nn.Module"
    )


def _is_packaged(name: str) -> bool:
    try:
        from mlla.yolo.config import is_packaged
    except ModuleNotFoundError as error:
        if error.name != "ultralytics":
            raise
        return False
    return is_packaged(name)


def _open_detector(path: Path, stem: str | None) -> Subject:
    # ultralytics is not needed to export other models
    from mlla.export.detector_subject import DetectorSubject
    from mlla.yolo import YOLO

    return DetectorSubject(YOLO(path), stem)


def _open_name(path: Path, stem: str | None) -> Subject:
    from mlla.classification.models import load_classifier

    try:
        classifier = load_classifier(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{error}; detectors are named by a checkpoint, best.pt, or as `mlla models` lists them"
        ) from error
    return NetworkSubject(
        classifier.network,
        stem or path.stem,
        class_names=classifier.class_names,
        is_classifier=True,
    )
