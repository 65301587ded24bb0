"""Which arguments of a training change its result, and in which of them runs differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlla.study.audit.existing_run import ExistingRun
from mlla.study.audit.optimizer import chosen_optimizer

# these change no result; an argument that is not known here, such as one of an edited Ultralytics,
# counts
_NAMES = {
    "task",
    "mode",
    "model",
    "seed",
    "name",
    "project",
    "save_dir",
    "exist_ok",
    "resume",
    "cfg",
}
_MACHINE = {"cache", "workers", "device", "profile", "compile", "channels_last", "session"}
_SAVED = {"save", "save_period", "save_json", "save_hybrid", "save_txt", "save_conf", "save_crop"}
_SHOWN = {"verbose", "plots", "show", "show_labels", "show_conf", "show_boxes", "line_width"}
_PREDICTION = {"source", "vid_stride", "stream_buffer", "visualize", "augment", "classes", "embed"}
_PICTURES = {"retina_masks", "save_frames", "tracker", "crop_fraction", "data_format", "stream"}
_EXPORT = {"format", "keras", "optimize", "int8", "quantize", "dynamic", "simplify", "opset", "nms"}
_RUNTIME = {"workspace", "dnn", "val"}
_WITHOUT_EFFECT = _NAMES | _MACHINE | _SAVED | _SHOWN | _PREDICTION | _PICTURES | _EXPORT | _RUNTIME

# what a difference does to a comparison, for those that readers ask about
MEANING = {
    "data": "they learned from, or were scored on, different images",
    "epochs": "one had more training",
    "imgsz": "larger images alone raise the score",
    "batch": "the number of steps and the noise of each differ",
    "optimizer": "the optimizer alone can move the score by points",
    "lr0": "the learning rate alone can move the score by points",
    "pretrained": "one may have started from weights that the other did not have",
    "fraction": "one saw more of the training images",
    "amp": "one rounded to half precision",
    "deterministic": "one cannot be repeated",
    "patience": "one may have stopped earlier",
    "conf": "boxes below this score were not counted",
    "iou": "overlapping boxes were removed by another rule",
    "max_det": "boxes beyond this number were not counted",
}
_COLOURS = {"hsv_h", "hsv_s", "hsv_v", "bgr", "auto_augment", "erasing"}
_SHAPES = {"degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr"}
_MIXES = {"mosaic", "close_mosaic", "mixup", "cutmix", "copy_paste", "copy_paste_mode"}
_VARIATIONS = _COLOURS | _SHAPES | _MIXES | {"multi_scale"}


def effective_arguments(run: ExistingRun) -> dict[str, Any]:
    """Return the arguments of a run that change its result, the seed left out.

    Args:
        run: The run.

    Returns:
        Arguments by name; optimizer, lr0 and momentum are those that "auto" became, where that is
        known, and amp is whether anything was rounded.
    """
    chosen = chosen_optimizer(run)
    kept = {key: value for key, value in run.arguments.items() if key not in _WITHOUT_EFFECT}
    became = {"optimizer": chosen.name, "lr0": chosen.lr0, "momentum": chosen.momentum}
    known = {key: value for key, value in became.items() if key in kept and value is not None}
    return {**kept, **known, **({"amp": rounds(run.arguments)} if "amp" in kept else {})}


def rounds(arguments: Mapping[str, Any]) -> Any:
    """Return the `amp` of arguments of a training, which does nothing where there is no CUDA."""
    return arguments.get("amp") if has_cuda(arguments.get("device")) is not False else False


def has_cuda(device: object) -> bool | None:
    """Return whether a device of Ultralytics is a graphics card; None where it was not named."""
    name = str(device).lower()
    return None if name in ("none", "") else not name.startswith(("cpu", "mps"))


def meaning(argument: str) -> str:
    """Say what a difference in an argument does to a comparison."""
    if argument in _VARIATIONS:
        return "one saw other variations of the images"
    return MEANING.get(argument, "this alone may explain a difference")


def differences(groups: Mapping[str, Sequence[ExistingRun]]) -> dict[str, dict[str, list[Any]]]:
    """Find the arguments that are not the same in all groups of runs.

    An argument that a run does not have, since its release of Ultralytics did not know it, is no
    difference.

    Args:
        groups: Runs by the name of their group.

    Returns:
        Argument to name of the group to its different values, in the order of first appearance.
    """
    values: dict[str, dict[str, list[Any]]] = {}
    for name, runs in groups.items():
        for run in runs:
            for key, value in effective_arguments(run).items():
                found = values.setdefault(key, {}).setdefault(name, [])
                if value not in found:
                    found.append(value)
    return {
        key: by_group
        for key, by_group in values.items()
        if len(unique(value for found in by_group.values() for value in found)) > 1
    }


def unique(values: Iterable[Any]) -> list[Any]:
    """Return the different values, in the order of their first appearance."""
    found: list[Any] = []
    for value in values:
        # 0 and False are the same value, and args.yaml of several releases write either
        if value not in found:
            found.append(value)
    return found
