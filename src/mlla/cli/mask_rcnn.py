"""`mlla mask-rcnn train | val | convert | weights`: instance segmentation as published."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of
from mlla.cli.check import read_call_arguments

HELP = """usage: mlla mask-rcnn train data=FOLDER out=DIR [model=mlla_tiny] [weights=FILE|FOLDER]
       mlla mask-rcnn val model=DIR data=FOLDER [split=val] [out=DIR]
       mlla mask-rcnn convert SRC DST --from masks|polygons [--split 0.8] [--seed 0]
                              [--images FOLDER] [--class-name nucleus]
       mlla mask-rcnn weights file=PUBLISHED.pth out=FOLDER

  train    Mask R-CNN with a feature pyramid on a backbone of timm; the same command again goes on
           where it was stopped
  val      score a training, or a folder that `weights` wrote
  convert  masks: a folder with images/ and masks/ for each image, as the Data Science Bowl has;
           polygons: YOLO labels with outlines; both become COCO
  weights  turn a detector that MLLA's authors published into a folder

  data     COCO: FOLDER/annotations/instances_train.json and instances_val.json, images anywhere

train:
  model, weights    a name of timm, and weights of a classifier: an authors' .pth, or a folder
  schedule          1x (12 epochs) or 3x (36); epochs=N stretches it
  imgsz             shorter side in pixels (800); training draws from 60 % of it up to all
  batch             images of an update over all processes (16)
  forward_batch     images of a forward pass (2)
  lr, weight_decay  1e-4 and 0.05 as published, for a batch of 16
  backbone_options, detector_options
                    further arguments: backbone_options="dim=32, depths=(1, 1, 2, 1)",
                    detector_options="box_detections_per_img=300"
  gradient_checkpointing, evaluate_every, ema_decay, clip_grad_norm, seed
val:
  split, batch      the split (val) and images at once (1)
both:
  precision=fp32|bf16|fp16, workers=4, device=auto|cpu

Several GPUs or machines: torchrun --nproc-per-node 8 -m mlla.cli mask-rcnn train ..."""

_CALLS = ("backbone_options", "detector_options")
_TEXTS = ("model", "weights", "data", "out", "schedule", "split", "precision", "device")


def run(_command: str, words: Sequence[str]) -> int:
    """Run one of the four."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    actions = {"train": _train, "val": _val, "convert": _convert, "weights": _weights}
    action, *rest = words
    if action not in actions:
        raise UsageError(
            f"{action!r} is not something mask-rcnn does{nearest(action, actions)}\n{HELP}"
        )
    return actions[action](rest)


def _train(words: Sequence[str]) -> int:
    from mlla.instance_segmentation.routes import LOOP_NAMES, RECIPE_NAMES, train

    known = ("out", *RECIPE_NAMES, *LOOP_NAMES)
    options = _options(words, known, needed=("data", "out"))
    figures = train(**options)
    best = os.path.join(options["out"], "best")
    _say(f"best epoch {figures['epoch']}: {_text(figures)}; {best}")
    return 0


def _val(words: Sequence[str]) -> int:
    from mlla.instance_segmentation import validate

    known = ("model", "data", "split", "out", "batch", "workers", "precision", "device")
    _say(_text(validate(**_options(words, known, needed=("model", "data")))))
    return 0


def _convert(words: Sequence[str]) -> int:
    from mlla.instance_segmentation import convert_masks, convert_polygons

    plain, options = read_options(words, ("from", "split", "seed", "images", "class_name"))
    converters: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
        "masks": (convert_masks, ("split", "seed", "class_name")),
        "polygons": (convert_polygons, ("split", "seed", "images")),
    }
    source = options.pop("from", "")
    if len(plain) != 2 or source not in converters:
        raise UsageError(f"convert needs SRC, DST and --from masks or polygons\n{HELP}")
    converter, known = converters[source]
    if unknown := set(options) - set(known):
        raise UsageError(f"--from {source} takes no --{unknown.pop().replace('_', '-')}")
    numbers = {key: value_of(options.pop(key)) for key in ("split", "seed") if key in options}
    print(converter(*plain, **numbers, **options).summary())
    return 0


def _weights(words: Sequence[str]) -> int:
    from mlla.instance_segmentation import convert_published_detector

    plain, options = read_options(words, ("file", "out"), flags=("overwrite",))
    if plain or {"file", "out"} - options.keys():
        raise UsageError(f"weights needs file=PUBLISHED.pth and out=FOLDER\n{HELP}")
    overwrite = value_of(options.get("overwrite", "False")) is True
    found = convert_published_detector(options["file"], options["out"], overwrite=overwrite)
    print(f"wrote {options['out']}: Mask R-CNN on {found.backbone}, {len(found.classes)} classes")
    return 0


def _options(
    words: Sequence[str], known: Sequence[str], *, needed: Sequence[str]
) -> dict[str, Any]:
    plain, texts = read_options(words, known, flags=("gradient_checkpointing",))
    missing = [key for key in needed if key not in texts]
    if plain or missing:
        wrong = f"unexpected {' '.join(plain)}" if plain else f"missing {'=, '.join(missing)}="
        raise UsageError(f"{wrong}\n{HELP}")
    return {key: _value(key, text) for key, text in texts.items()}


def _value(key: str, text: str) -> Any:
    if key in _CALLS:
        return read_call_arguments(text)
    return text if key in _TEXTS else value_of(text)


def _text(figures: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in figures.items() if name != "epoch"]
    return ", ".join(shown)


def _say(text: str) -> None:
    # torchrun starts this command several times
    if os.environ.get("RANK", "0") == "0":
        print(text)
