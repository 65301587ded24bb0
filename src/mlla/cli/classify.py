"""`mlla classify train | val`: classification as published."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

HELP = """usage: mlla classify train model=mlla_tiny data=FOLDER out=DIR [epochs=300] [batch=4096]
       mlla classify val model=FILE.pth|FOLDER|NAME data=FOLDER [out=DIR]

  model       a name of timm for fresh weights, a folder such as DIR/best, or a published .pth
  data        FOLDER/train/CLASS/IMAGE and FOLDER/val/CLASS/IMAGE; or torch/NAME or hfds/NAME,
              with root=FOLDER where it lies on disk; nothing is downloaded
  out         train: args.yaml, results.csv, state.pt and the models last and best; the same
              command again goes on where it was stopped. val: predictions.npz
  image_size  height and width in pixels; default: what the model was made for
  model_args  further arguments of the model: model_args="dim=32, depths=(1, 1, 2, 1)"

train:
  epochs, batch     passes through the images, and images of an update over all processes (300,
                    4096); forward_batch: images of a forward pass, whatever the number of processes
  lr                default: 5e-4 for every 512 images of a batch; printed
  warmup_epochs, warmup_lr, min_lr, weight_decay, label_smoothing, mixup, cutmix, auto_augment,
  random_erasing, drop_path, mesa
                    the recipe; defaults as published; none for no auto_augment
  ema_decay, clip_grad_norm, gradient_checkpointing, evaluate_every, seed
  train_split, val_split   names of the splits (train, val)
val:
  split, batch      the split (val) and images at once (128)
both:
  precision=fp32|bf16|fp16, workers=4, device=auto|cpu

Several GPUs or machines: torchrun --nproc-per-node 8 -m mlla.cli classify train ..."""

_WHAT = ("model", "data", "out", "root", "image_size", "model_args")
_WORDS = ("model", "data", "out", "root", "train_split", "val_split", "split")


def run(_command: str, words: Sequence[str]) -> int:
    """Run one of the two."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    actions = {"train": _train, "val": _val}
    action, *rest = words
    if action not in actions:
        raise UsageError(
            f"{action!r} is not something classify does{nearest(action, actions)}\n{HELP}"
        )
    return actions[action](rest)


def _train(words: Sequence[str]) -> int:
    from mlla.classification import Recipe, train
    from mlla.training import LoopSettings

    loop_names, recipe_names = (
        [field.name for field in fields(settings)] for settings in (LoopSettings, Recipe)
    )
    known = (*_WHAT, "train_split", "val_split", *loop_names, *recipe_names)
    options = _options(words, known, needed=("model", "data", "out"))
    loop = {"epochs": 300, "batch": 4096, **_taken(options, loop_names)}
    recipe = Recipe(**_taken(options, recipe_names))
    figures = train(settings=LoopSettings(**loop), recipe=recipe, **options)
    _say(f"best epoch {figures['epoch']}: {_text(figures)}; {Path(options['out']) / 'best'}")
    return 0


def _val(words: Sequence[str]) -> int:
    known = (*_WHAT, "split", "batch", "workers", "precision", "device")
    options = _options(words, known, needed=("model", "data"))
    from mlla.classification import validate

    _say(_text(validate(**options)))
    return 0


def _options(
    words: Sequence[str], known: Sequence[str], *, needed: Sequence[str]
) -> dict[str, Any]:
    plain, texts = read_options(words, known, flags=("gradient_checkpointing",))
    missing = [key for key in needed if key not in texts]
    if plain or missing:
        wrong = f"unexpected {' '.join(plain)}" if plain else f"missing {'=, '.join(missing)}="
        raise UsageError(f"{wrong}\n{HELP}")
    options = {
        key: text if key in _WORDS else value_of(text)
        for key, text in texts.items()
        if key != "model_args"
    }
    if "model_args" in texts:
        from mlla.cli.check import read_call_arguments

        options["model_args"] = read_call_arguments(texts["model_args"])
    return options


def _taken(options: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take what belongs to one of the two groups of settings out of the options."""
    return {name: options.pop(name) for name in names if name in options}


def _text(figures: Mapping[str, float]) -> str:
    shown = [f"{name} {value:.4g}" for name, value in figures.items() if name != "epoch"]
    return ", ".join(shown)


def _say(text: str) -> None:
    # torchrun starts this command several times
    if os.environ.get("RANK", "0") == "0":
        print(text)
