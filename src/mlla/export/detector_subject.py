"""Detectors, and all else that Ultralytics trains: exported by Ultralytics."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlla.export.draft import put_in_place
from mlla.export.network_files import write_program
from mlla.export.plan import Plan
from mlla.export.quantize import nncf_for_linear_attention
from mlla.export.runners import Run
from mlla.yolo.exporting import (
    SCORES,
    Layout,
    check_has_boxes,
    format_arguments,
    output_layout,
    precision_arguments,
    raw_network,
    score,
    write_with_ultralytics,
)


class DetectorSubject:
    """A model of Ultralytics.

    Args:
        detector: A `mlla.yolo.YOLO` or `RTDETR` with a network of PyTorch.
        name: What its files are called; by default what the checkpoint is called.

    Raises:
        ValueError: If it is itself an exported file.
    """

    is_open_by_default = False
    pixel_range = (0.0, 1.0)

    def __init__(self, detector: Any, name: str | None = None) -> None:
        if not isinstance(detector.model, nn.Module):
            raise ValueError(
                f"model={detector.model!r} was exported already; name the checkpoint it came from"
            )
        self.detector = detector
        checkpoint = Path(detector.ckpt_path) if detector.ckpt_path else None
        self.name = name or (checkpoint or Path(str(detector.model_name))).stem
        self.home = checkpoint.parent if checkpoint else Path()
        network: Any = detector.model
        self.channels = int(network.yaml.get("channels", 3))
        self.step = int(max(network.stride))
        self.default_px = int(network.args.get("imgsz") or 640)
        self.arguments = format_arguments()
        self.formats: Sequence[str] = [*self.arguments, "torch_export"]

    def check(self, plan: Plan) -> None:
        """Raise a ValueError if Ultralytics cannot export so."""
        if plan.options.get("task") not in (None, self.detector.task):
            raise ValueError(
                f"task={plan.options['task']!r}: {self.name} is for {self.detector.task!r}"
            )
        if plan.format == "torch_export":
            if plan.dynamic or plan.half or plan.options.get("nms"):
                raise ValueError(
                    "format='torch_export' of detectors has a fixed size, float32 and no NMS: "
                    "leave dynamic, half and nms out, or export to format='onnx'"
                )
            return
        known = self.arguments[plan.format]
        if plan.dynamic and "dynamic" not in known:
            raise ValueError(f"dynamic=True: format={plan.format!r} has a fixed size")
        if plan.half and plan.format == "torchscript":
            raise ValueError(
                "half=True: 16-bit TorchScript runs on a GPU only, and is not compared here; "
                "leave half out, or export to format='openvino' or 'onnx'"
            )
        if plan.data is not None and plan.height != plan.width:
            raise ValueError(
                f"data= is scored on square images, not {plan.height} x {plan.width}; leave it "
                "out, or export with one number for imgsz"
            )
        if plan.data is not None and self.detector.task != "classify":
            check_has_boxes(plan.data)

    def reference(self, plan: Plan) -> Any:
        """Return the network before it is fused, with the outputs of the file."""
        return raw_network(self.detector.model, dynamic=plan.dynamic, nms=_head_choice(plan))

    def deployed(self, plan: Plan) -> nn.Module:
        """Return the network as Ultralytics predicts with it: fused."""
        return self.reference(plan).fuse(verbose=False).eval().requires_grad_(False)

    def layout(self, plan: Plan) -> Layout | None:
        """Return what the first output means."""
        return output_layout(self.reference(plan))

    def write(self, plan: Plan, folder: Path) -> Path:
        """Write the file into a folder, under the name that Ultralytics gives it."""
        if plan.format == "torch_export":
            image = torch.zeros(plan.batch, self.channels, plan.height, plan.width)
            network = self.deployed(plan)
            with torch.no_grad():
                # the head keeps its anchors, which may not change while it is recorded
                network(image)
            return write_program(network, image, folder / f"{self.name}.pt2", None)
        arguments = {
            "device": "cpu",
            **plan.options,
            "format": plan.format,
            "imgsz": [plan.height, plan.width],
            **precision_arguments(int8=plan.int8, half=plan.half),
        }
        if "batch" in self.arguments[plan.format] or plan.batch > 1:
            arguments["batch"] = plan.batch
        if plan.dynamic:
            arguments["dynamic"] = True
        if plan.int8:
            arguments["data"] = str(plan.data)
        # another format on the way to this one may lie beside it
        made_in = folder / "ultralytics"
        made_in.mkdir()
        calibrates = plan.int8 and plan.format == "openvino"
        with nncf_for_linear_attention() if calibrates else nullcontext():
            written = write_with_ultralytics(self.detector, made_in / f"{self.name}.pt", arguments)
        return put_in_place(written, folder / written.name)

    def score(self, plan: Plan, folder: Path, exported: tuple[Path, Run] | None) -> float:
        """Return the score as Ultralytics measures it."""
        return score(
            self.detector,
            str(plan.data),
            folder,
            exported=exported,
            imgsz=plan.height,
            batch=plan.batch,
        )

    def measure(self) -> str | None:
        """Return what Ultralytics measures for this task."""
        return SCORES[self.detector.task][1] if self.detector.task in SCORES else None


def _head_choice(plan: Plan) -> bool | None:
    # with nms=True the file without it is compared
    return False if plan.options.get("nms") is False else None
