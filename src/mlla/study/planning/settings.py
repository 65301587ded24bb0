"""The arguments of training that all arms of a study share, and why some are not to be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

# fmt: off
# what a user may choose; the study keeps it equal for all arms
OPEN = (
    "epochs", "imgsz", "batch", "device", "amp", "cache", "channels_last", "close_mosaic",
    "compile", "cos_lr", "multi_scale", "plots", "verbose", "optimizer", "lr0", "lrf", "momentum",
    "weight_decay", "nbs", "warmup_epochs", "warmup_momentum", "warmup_bias_lr", "box", "cls",
    "cls_pw", "dfl", "cls_loss", "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale",
    "shear", "perspective", "flipud", "fliplr", "bgr", "mosaic", "mixup", "cutmix", "copy_paste",
    "copy_paste_mode",
)
# the arguments of `compare` itself, for a hint at a slip of the pen
OWN = (
    "data", "models", "plug", "controls", "seeds", "out", "pretrained", "test", "near_duplicates",
    "checkpoint", "margin", "workers", "loader_workers", "executor", "runtimes", "language", "add",
    "trust",
)
# fmt: on
REFUSED = {
    "model": "name the models with models=",
    "seed": "seeds=5 trains with the seeds 0 to 4",
    "resume": "the same command goes on where it stopped",
    "project": "out= is the folder of the study",
    "name": "out= is the folder of the study",
    "exist_ok": "out= is the folder of the study",
    "save": "the scores come from the checkpoints",
    "save_period": "the scores come from best.pt or last.pt",
    "val": "val chooses the checkpoint",
    "split": "the test split is scored where there is one, else val",
    "deterministic": "the same seed must give the same result",
    "patience": "every run trains all epochs: stopping early gives arms different budgets",
    "time": "a limit in hours gives slow arms fewer epochs; set epochs=",
    "fraction": "the image lists are fixed; name a data.yaml with fewer images",
    "classes": "labels and scores must be of the same classes; name another data.yaml",
    "single_cls": "labels and scores must be of the same classes; name another data.yaml",
    "rect": "it takes the images in one order, whatever the seed",
    "freeze": "it counts rows, and the rows of the arms differ",
    "cfg": "give its arguments one by one, so that the plan holds them",
    "profile": "the cost is measured after all runs",
    "task": "a study compares detectors",
    "mode": "a study trains",
}
# what optimizer=auto takes for a short training; written down, as it would choose by itself
CHOSEN_OPTIMIZER = {"optimizer": "AdamW", "momentum": 0.9, "warmup_bias_lr": 0.0}
FIXED = {"patience": 0, "deterministic": True, "val": True, "save": True, "save_period": -1}
DEFAULTS = {"plots": False, "verbose": False}


def complete_settings(given: Mapping[str, Any], *, num_classes: int) -> dict[str, Any]:
    """Return all arguments of the trainings of a study, after checking those given.

    Args:
        given: Arguments of Ultralytics.
        num_classes: Classes of the dataset, on which the default learning rate depends.

    Returns:
        Arguments of Ultralytics, complete where they matter to a result.

    Raises:
        ValueError: If an argument is unknown, is not for the user to choose, or its value is wrong.
    """
    from mlla.yolo.training_arguments import default_arguments, refuse_bad_values

    defaults = default_arguments()
    refuse_arguments(given, defaults)
    refuse_bad_values({key: value for key, value in given.items() if key in defaults})
    optimizer: dict[str, Any] = {}
    if "optimizer" not in given:
        optimizer = {**CHOSEN_OPTIMIZER, "lr0": round(0.002 * 5 / (4 + num_classes), 6)}
    settings = {key: defaults[key] for key in OPEN if key in defaults}
    return {**settings, **DEFAULTS, **optimizer, **given, **FIXED}


def refuse_arguments(given: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise on arguments that a study does not take, with the reason.

    Args:
        given: What the user set.
        known: Every argument of the installed Ultralytics.

    Raises:
        ValueError: If one is refused, is about something else than training, or is unknown.
    """
    for key, value in given.items():
        if key in REFUSED:
            raise ValueError(f"{key}={value!r} cannot be set in a comparison: {REFUSED[key]}")
        if key not in OPEN:
            if key in known:
                raise ValueError(
                    f"{key}={value!r} is no argument of training detectors; a comparison predicts "
                    "with all arms in the same way"
                )
            near = get_close_matches(key, [*OWN, *OPEN, *REFUSED], n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise ValueError(f"unknown argument {key}={value!r}{hint}")
        if key not in known and key != "cls_loss":
            raise ValueError(f"{key}={value!r}: the installed Ultralytics has no such argument")
    if str(given.get("optimizer", "")).lower() == "auto":
        raise ValueError(
            "optimizer='auto' chooses by itself, also by the number of batches; leave it out for "
            "AdamW, which it takes for short trainings, or name one with its lr0 and momentum"
        )
    batch = given.get("batch", 16)
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(
            f"batch={batch!r} must be a number of images: one found automatically differs from arm "
            "to arm"
        )
    size = given.get("imgsz", 640)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"imgsz={size!r} must be one size in pixels, such as 640")
