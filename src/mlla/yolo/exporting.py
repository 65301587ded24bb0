# SPDX-License-Identifier: AGPL-3.0-only
"""What exporting a detector needs of Ultralytics: its formats, its exporter and its scores."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from ultralytics.engine.exporter import export_formats
from ultralytics.engine.model import Model
from ultralytics.nn.modules import Classify, Detect, RTDETRDecoder
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER

from mlla.data import check_dataset
from mlla.yolo.model import YOLO
from mlla.yolo.rtdetr import RTDETR, is_rtdetr

# what Ultralytics calls the score of a task, and what people do
SCORES = {
    "detect": ("metrics/mAP50-95(B)", "AP50-95"),
    "obb": ("metrics/mAP50-95(B)", "AP50-95 of turned boxes"),
    "segment": ("metrics/mAP50-95(M)", "AP50-95 of masks"),
    "pose": ("metrics/mAP50-95(P)", "AP50-95 of keypoints"),
    "classify": ("metrics/accuracy_top1", "top-1"),
}
# releases that choose between the two heads of YOLO26 by `nms` export the one with many boxes
HEAD_IS_CHOSEN_BY_NMS = DEFAULT_CFG_DICT.get("nms", False) is None


class Layout(NamedTuple):
    """What the numbers of a detector's first output mean.

    Args:
        num_classes: Classes that it knows.
        ranked: Whether its rows are boxes in the order of their scores: four edges, the score, the
            class. Otherwise its channels are four edges and a score for every class.
    """

    num_classes: int
    ranked: bool


def format_arguments() -> dict[str, frozenset[str]]:
    """Return, for every format that Ultralytics writes, which of its arguments have a meaning."""
    table = export_formats()
    rows = zip(table["Argument"], table["Arguments"], strict=True)
    return {name: frozenset(arguments) for name, arguments in rows if name != "-"}


def precision_arguments(*, int8: bool, half: bool) -> dict[str, Any]:
    """Return how the installed release is asked for a precision."""
    if "quantize" in DEFAULT_CFG_DICT:
        return {"quantize": 8 if int8 else 16 if half else None}
    return {"int8": int8, "half": half}


def raw_network(network: Any, *, dynamic: bool, nms: bool | None = None) -> Any:
    """Return a copy that returns what an exported file returns, in float32.

    Args:
        network: A network of Ultralytics; it stays as it is.
        dynamic: Whether sizes will differ from call to call.
        nms: As given to the exporter; False asks YOLO26 for its head without overlapping boxes.
    """
    copy = deepcopy(network).float().eval().requires_grad_(False)
    if HEAD_IS_CHOSEN_BY_NMS and hasattr(copy, "end2end"):
        copy.end2end = nms is False
    for module in copy.modules():
        if isinstance(module, Detect | RTDETRDecoder | Classify):
            module.export = True
        if isinstance(module, Detect | RTDETRDecoder):
            module.dynamic, module.shape = dynamic, None
    return copy


def output_layout(network: Any) -> Layout | None:
    """Return what the first output of `raw_network` means; None if it is a classifier."""
    head = network.model[-1]
    if isinstance(head, Detect):
        return Layout(head.nc, bool(getattr(head, "end2end", False)))
    if isinstance(head, RTDETRDecoder):
        return Layout(head.nc, hasattr(head, "postprocess"))
    return None


def write_with_ultralytics(detector: Model, draft: Path, arguments: Mapping[str, Any]) -> Path:
    """Export a detector.

    Args:
        detector: A model of this package or of Ultralytics, with a network of PyTorch.
        draft: The checkpoint beside which Ultralytics writes; it need not exist.
        arguments: Those of Ultralytics.

    Returns:
        The file or folder that it wrote.

    Raises:
        RuntimeError: If Ultralytics gives up, whatever it raises.
    """
    network = detector.model
    before = getattr(network, "pt_path", None)
    network.pt_path = str(draft)
    try:
        with _quiet():
            return Path(detector.export(**arguments))
    # every package that an exporter calls has errors of its own
    except Exception as error:
        raise RuntimeError(
            f"Ultralytics could not export to format={arguments.get('format')}: "
            f"{type(error).__name__}: {error}"
        ) from error
    finally:
        network.pt_path = before
        if before is None:
            del network.pt_path


def score(
    detector: Model, data: str | Path, folder: Path, *, batch: int,
    exported: tuple[Path, Callable[[np.ndarray], list[np.ndarray]]] | None = None, **arguments: Any,
) -> float:  # fmt: skip
    """Validate a detector, or the file that it was exported to, on square images.

    Args:
        detector: The detector.
        data: As for `val`.
        folder: Where Ultralytics may write.
        batch: Images at once.
        exported: The exported file, and what runs it, for files that Ultralytics does not open;
            None for the network itself.
        arguments: Further ones of `val`, such as imgsz.

    Returns:
        The score that SCORES names, from 0 to 1.
    """
    # rectangular batches are what fixed files cannot take
    arguments = {
        "rect": False,
        "plots": False,
        "verbose": False,
        "workers": 0,
        "device": "cpu",
        "project": str(folder),
        "name": "val",
        "exist_ok": True,
        "batch": batch,
        **arguments,
    }
    with _quiet():
        if exported is not None and exported[0].suffix != ".pt2":
            found = _opened(detector, exported[0]).val(data=str(data), **arguments)
        else:
            network = detector.model
            # validation fuses what it is given
            detector.model = deepcopy(network)
            if exported is not None:
                detector.model.forward = partial(_run_tensors, exported[1], batch)
            try:
                found = detector.val(data=str(data), **arguments)
            finally:
                detector.model = network
    return float(found.results_dict[SCORES[detector.task][0]])


def _run_tensors(
    run: Callable[[np.ndarray], list[np.ndarray]], batch: int, images: Tensor, *_: Any, **__: Any
) -> Any:
    """Answer for a network with a file that takes so many images at once, no more and no fewer."""
    number = len(images)
    filled = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, batch - number)).numpy()
    outputs = [torch.from_numpy(output)[:number] for output in run(filled)]
    return outputs[0] if len(outputs) == 1 else outputs


def check_has_boxes(data: str | Path) -> None:
    """Check that AP can be measured on the validation images of a detection set.

    Raises:
        DataError: If the data set is broken.
        ValueError: If no validation image has a box.
    """
    counts = check_dataset(data, quiet=True).splits["val"]
    if not counts.boxes.total():
        raise ValueError(
            f"data={str(data)!r}: none of its {counts.images} validation images has a labelled "
            "box, so the AP of the exported file cannot be measured; label them, or leave out data="
        )


def _opened(detector: Model, file: Path) -> Model:
    # Ultralytics tells an exported RT-DETR by its name only
    if is_rtdetr(detector.model):
        return RTDETR(str(file))
    return YOLO(str(file), task=detector.task)


@contextmanager
def _quiet() -> Iterator[None]:
    """Show errors only: the comparison finds what exporters warn of."""
    level, disabled = LOGGER.level, logging.root.manager.disable
    LOGGER.setLevel(logging.ERROR)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        LOGGER.setLevel(level)
        logging.disable(disabled)
