"""`mlla semantic train | val | weights`: semantic segmentation as published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of
from mlla.cli.check import read_call_arguments

HELP = """usage: mlla semantic train data=FOLDER out=DIR [model=mlla_tiny] [decoder=upernet]
       mlla semantic val model=DIR/best data=FOLDER [split=val] [out=DIR]
       mlla semantic weights file=PUBLISHED.pth out=FOLDER

  weights     turn the UPerNet that MLLA's authors published into a folder for val

  data        FOLDER/images/train, FOLDER/annotations/train (or masks, labels) and the same of val;
              Cityscapes' leftImg8bit and gtFine; or a YAML file with train, val and classes
  classes     names of the classes, background,nucleus, or their number; default: the lines of
              FOLDER/classes.txt
  ignore      numbers in masks that do not count, beside 255: ignore=0,254; also of classes
  reduce_zero_label   0 does not count and 1 is the first class, as in ADE20K
  out         train: args.yaml, results.csv, state.pt and the models last and best; the same
              command again goes on where it was stopped. val: scores.json and predicted masks

train:
  model, decoder      a backbone of timm with unet, unetplusplus, manet, linknet, fpn, pspnet, pan,
                      upernet or segformer; or vm_unet, which has its own decoder
  weights             weights of an MLLA classifier, or a VM-UNet: a published .pth, or a folder
  epochs, batch       passes through the images, and images of an update over all processes (127,
                      16); forward_batch: images of a forward pass
  lr, weight_decay, power, warmup_updates, auxiliary_weight, dice_weight,
  size_px, crop_px    the recipe; defaults as published
  model_args, decoder_args    model_args="dim=32, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8)"
  ema_decay, clip_grad_norm, gradient_checkpointing, evaluate_every, seed
  train_split, val_split      names of the splits (train, val)
val:
  size_px             shorter side that images are resized to; None for none
  window_px, stride_px        a window that slides over the image, in place of the image as a whole
  scales, flip        average over these sizes, and over the mirrored image: scales=0.75,1,1.25
both:
  precision=fp32|bf16|fp16, workers=4, device=auto|cpu

Several GPUs or machines: torchrun --nproc-per-node 8 -m mlla.cli semantic train ..."""

_DATA = ("data", "classes", "ignore", "reduce_zero_label")
_HARDWARE = ("precision", "workers", "device")
_TEXTS = {"model", "decoder", "weights", "data", "out", "file", "split", "train_split", "val_split"}
_CALLS = ("model_args", "decoder_args")
_FLAGS = ("gradient_checkpointing", "reduce_zero_label", "flip")


def run(_command: str, words: Sequence[str]) -> int:
    """Run one of the three."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    actions = {"train": _train, "val": _val, "weights": _weights}
    action, *rest = words
    if action not in actions:
        raise UsageError(
            f"{action!r} is not something semantic does{nearest(action, actions)}\n{HELP}"
        )
    return actions[action](rest)


def _train(words: Sequence[str]) -> int:
    from mlla.semantic_segmentation import SegmentationRecipe, train
    from mlla.semantic_segmentation.recipe import PUBLISHED_BATCH, PUBLISHED_EPOCHS
    from mlla.training import LoopSettings

    loop_names = [field.name for field in fields(LoopSettings)]
    recipe_names = [field.name for field in fields(SegmentationRecipe)]
    own = ("model", "decoder", "weights", "out", "train_split", "val_split", *_DATA, *_CALLS)
    options = _options(words, (*own, *loop_names, *recipe_names), needed=("data", "out"))
    # the published training has neither a moving average nor a limit on gradients
    loop: dict[str, Any] = {"epochs": PUBLISHED_EPOCHS, "batch": PUBLISHED_BATCH}
    loop |= {"ema_decay": None, "clip_grad_norm": None, **_taken(options, loop_names)}
    recipe = SegmentationRecipe(**_taken(options, recipe_names))
    figures = train(settings=LoopSettings(**loop), recipe=recipe, **options)
    _say(
        f"best epoch {figures['epoch']}: mIoU {figures['mIoU']:.4f}, mAcc {figures['mAcc']:.4f}, "
        f"aAcc {figures['aAcc']:.4f}; {Path(options['out']) / 'best'}"
    )
    return 0


def _val(words: Sequence[str]) -> int:
    from mlla.semantic_segmentation import Inference, load_segmenter, validate

    inference_names = [field.name for field in fields(Inference)]
    known = ("model", "out", "split", *_DATA, *_HARDWARE, *inference_names)
    options = _options(words, known, needed=("model", "data"))
    asked = _taken(options, inference_names)
    if asked:
        if "size_px" not in asked:
            asked["size_px"] = load_segmenter(options["model"]).size_px
        options["inference"] = Inference(**asked)
    scores = validate(**options)
    figures = ", ".join(f"{name} {value:.4f}" for name, value in scores.figures().items())
    _say(f"{scores.table()}\n{figures}")
    return 0


def _weights(words: Sequence[str]) -> int:
    from mlla.semantic_segmentation import convert_published_segmenter

    options = _options(words, ("file", "out"), needed=("file", "out"))
    plan = convert_published_segmenter(options["file"], options["out"])
    print(f"wrote {options['out']}: {plan.model} with {plan.decoder}, {plan.num_classes} classes")
    return 0


def _options(
    words: Sequence[str], known: Sequence[str], *, needed: Sequence[str]
) -> dict[str, Any]:
    flags = [name for name in _FLAGS if name in known]
    plain, texts = read_options(words, known, flags=flags)
    missing = [name for name in needed if name not in texts]
    if plain or missing:
        wrong = f"unexpected {' '.join(plain)}" if plain else f"missing {'=, '.join(missing)}="
        raise UsageError(f"{wrong}\n{HELP}")
    return {name: _value(name, text) for name, text in texts.items()}


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    if name in _CALLS:
        return read_call_arguments(text)
    if name == "classes":
        return int(text) if text.isdigit() else text.split(",")
    if name in ("ignore", "scales"):
        try:
            return tuple(map(int if name == "ignore" else float, text.split(",")))
        except ValueError as error:
            raise UsageError(f"{name}={text!r} must be numbers, such as 0,255") from error
    value = value_of(text)
    if name in _FLAGS and not isinstance(value, bool):
        raise UsageError(f"{name}={text!r} must be True or False")
    return value


def _taken(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take what belongs to one group of settings out of the options."""
    return {name: options.pop(name) for name in names if name in options}


def _say(text: str) -> None:
    # torchrun starts this command several times
    if os.environ.get("RANK", "0") == "0":
        print(text)
