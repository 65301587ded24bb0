"""Classifiers, backbones and segmenters: exported by PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlla.classification.models import load_classifier
from mlla.export.classified_images import ClassifiedImages
from mlla.export.formats import CHECKED
from mlla.export.network_files import (
    openvino_model,
    write_onnx,
    write_openvino,
    write_program,
    write_torchscript,
)
from mlla.export.plan import OPEN_PROGRAM_LEAST_PX, Plan
from mlla.export.quantize import quantize_onnx, quantize_openvino
from mlla.export.runners import Run, open_network
from mlla.inference import optimize
from mlla.models.weights_folder import read_config

_DEFAULT_PX = 224
_SEGMENTER, _MASK_RCNN = "mlla.semantic_segmentation", "mask_rcnn"


class NetworkSubject:
    """A network that turns images into one tensor or several.

    Args:
        network: The network.
        name: What its files are called.
        class_names: Names of its classes, where they are known.
        is_classifier: Whether its outputs are logits of classes, by which it can be scored.
        default_px: Height and width by default; else what timm says of the model, or 224.
    """

    step = 1
    is_open_by_default = True
    # of colours that were normalised
    pixel_range = (-2.0, 2.0)
    home = Path()
    formats: Sequence[str] = list(CHECKED)

    def __init__(
        self,
        network: nn.Module,
        name: str,
        *,
        class_names: Sequence[str] | None = None,
        is_classifier: bool = False,
        default_px: int | None = None,
    ) -> None:
        self.network = deepcopy(network).cpu().float().eval().requires_grad_(False)
        self.optimized = _optimized(self.network)
        self.name = name
        self.class_names = class_names
        self.is_classifier = is_classifier and getattr(network, "num_classes", 0) > 0
        self.default_px = default_px or _default_px(network)
        self.channels = _channels(network)

    def check(self, plan: Plan) -> None:
        """Raise a ValueError if PyTorch cannot export so."""
        unknown = sorted({*plan.options} - {"opset"})
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} goes with detectors only; {self.name} takes format, out, "
                "imgsz, batch, dynamic, int8, data and opset"
            )
        if plan.half:
            raise ValueError(
                f"half=True goes with detectors only; export {self.name} in float32, and let the "
                "runtime choose 16 bits where the processor has them"
            )
        if plan.data is not None and not self.is_classifier:
            raise ValueError(f"data= goes with classifiers and detectors, not with {self.name}")
        if plan.data is not None:
            self._images(plan)
        least = OPEN_PROGRAM_LEAST_PX
        if plan.format == "torch_export" and plan.dynamic and min(plan.height, plan.width) < least:
            raise ValueError(
                f"imgsz={plan.height} x {plan.width}: with open sizes torch.export needs at least "
                f"{least} pixels a side"
            )

    def reference(self, _plan: Plan) -> nn.Module:
        """Return the network."""
        return self.network

    def deployed(self, _plan: Plan) -> nn.Module:
        """Return the network with its blocks folded, which is also what is written."""
        return self.optimized

    def layout(self, _plan: Plan) -> None:
        """Return nothing: all numbers of an output are of one kind."""
        return

    def write(self, plan: Plan, folder: Path) -> Path:
        """Write the file into a folder, under its final name."""
        name = f"{self.name}{'_int8' if plan.int8 else ''}"
        file = folder / f"{name}{CHECKED[plan.format].suffix}"
        # torch.export takes a size of 1 for one that is always 1
        batch = max(plan.batch, 2) if plan.format == "torch_export" and plan.dynamic else plan.batch
        image = torch.randn(batch, self.channels, plan.height, plan.width)
        if plan.format == "torchscript":
            return write_torchscript(self.optimized, image, file)
        if plan.format == "torch_export":
            open_sizes = (0, 2, 3) if plan.dynamic else None
            return write_program(self.optimized, image, file, open_sizes)
        if plan.format == "openvino":
            file.mkdir()
            model = openvino_model(self.optimized, image, plan.dynamic)
            if plan.int8:
                model = quantize_openvino(model, self._images(plan).calibration())
            return write_openvino(model, file, name)
        return self._write_onnx(plan, image, file)

    def score(self, plan: Plan, _folder: Path, exported: tuple[Path, Run] | None) -> float:
        """Return the share of images whose class is the first answer."""
        run = open_network(self.network) if exported is None else exported[1]
        return self._images(plan).top1(run)

    def measure(self) -> str | None:
        """Return "top-1" for classifiers."""
        return "top-1" if self.is_classifier else None

    def _write_onnx(self, plan: Plan, image: torch.Tensor, file: Path) -> Path:
        options: dict[str, Any] = dict(plan.options)
        if not plan.int8:
            return write_onnx(self.optimized, image, file, plan.dynamic, **options)
        exact = file.with_name("float32.onnx")
        write_onnx(self.optimized, image, exact, plan.dynamic, **options)
        return quantize_onnx(exact, file, self._images(plan).calibration())

    def _images(self, plan: Plan) -> ClassifiedImages:
        size = (self.channels, plan.height, plan.width)
        return ClassifiedImages(
            str(plan.data), self.network, size, self.class_names, batch=plan.batch
        )


def open_folder(folder: Path, stem: str | None = None) -> NetworkSubject:
    """Open a folder of weights: of a classifier, a backbone, VM-UNet or a segmenter.

    Args:
        folder: The folder.
        stem: What the files shall be called; by default as the folder.

    Raises:
        FileNotFoundError: If the folder has no weights.
        ValueError: If they are damaged, or those of a model that cannot be exported.
    """
    architecture = str(read_config(folder).get("architecture"))
    name = stem or folder.resolve().name
    if architecture == _SEGMENTER:
        from mlla.semantic_segmentation.segmenter_folder import load_segmenter

        saved = load_segmenter(folder)
        return NetworkSubject(saved.model, name, default_px=saved.size_px)
    if architecture == _MASK_RCNN:
        raise ValueError(
            f"model={folder} is a Mask R-CNN, whose number of boxes depends on the image; it "
            "cannot be exported here"
        )
    classifier = load_classifier(folder)
    return NetworkSubject(
        classifier.network, name, class_names=classifier.class_names, is_classifier=True
    )


def _optimized(network: nn.Module) -> nn.Module:
    try:
        return optimize(network)
    except ValueError:
        # none of our blocks is in it
        return network


def _default_px(network: nn.Module) -> int:
    cfg: Any = getattr(network, "pretrained_cfg", None) or {}
    return int((cfg.get("input_size") or (_DEFAULT_PX,))[-1])


def _channels(network: nn.Module) -> int:
    channels: Any = getattr(network, "in_chans", None)
    if channels is None:
        channels = next(
            (part.in_channels for part in network.modules() if isinstance(part, nn.Conv2d)), 3
        )
    return int(channels)
