"""`mlla train | val | predict | track`: Ultralytics' own arguments, passed through."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

NEEDED = {"train": ("model", "data"), "predict": ("model", "source"), "track": ("model", "source")}
OWN_OPTIONS = {"train": ("cls_loss",)}
CLASS_LOSS_HELP = """and, for the classification loss of YOLO detectors:
  cls_loss  bce, slide, ema_slide, focal, varifocal or quality_focal"""


def run(mode: str, words: Sequence[str]) -> int:
    """Build the model and call its method of that name."""
    if any(word in ("-h", "--help") for word in words):
        print(
            f"usage: mlla {mode} model=... [key=value ...]\n"
            "The keys are those of Ultralytics: https://docs.ultralytics.com/usage/cfg"
            + (f"\n{CLASS_LOSS_HELP}" if mode == "train" else "")
        )
        return 0
    YOLO, defaults = _ultralytics()  # noqa: N806
    plain, texts = read_options(
        words,
        known=[*defaults, "mode", *OWN_OPTIONS.get(mode, ())],
        flags=[key for key, value in defaults.items() if isinstance(value, bool)],
    )
    if plain:
        hint = nearest(plain[0], defaults)
        raise UsageError(f"{plain[0]!r} is not key=value{hint}")
    options = {key: value_of(text) for key, text in texts.items()}
    options.pop("mode", None)
    resume = mode == "train" and options.get("resume")
    missing = [
        key for key in NEEDED.get(mode, ("model",)) if options.get(key) is None and not resume
    ]
    if missing:
        raise UsageError(
            f"mlla {mode} needs {' and '.join(f'{key}=...' for key in missing)}; "
            "`mlla models` lists the models, `mlla data demo DIR` writes a dataset"
        )
    if isinstance(resume, str):
        options["model"], options["resume"] = resume, True
    if mode in ("predict", "track"):
        # Ultralytics saves by itself only under its own name
        options.setdefault("save", True)
        _check_source(str(options["source"]))
    model = YOLO(options.pop("model"), task=options.pop("task", None))
    if not resume:
        # versions of Ultralytics differ in what a relative project is relative to
        folder = options.get("project") or Path("runs") / model.task
        options["project"] = str(Path(folder).resolve())
    try:
        getattr(model, mode)(**options)
    except KeyboardInterrupt:
        last = getattr(model.trainer, "last", None)
        if mode == "train" and last is not None and Path(last).exists():
            print(f"\nmlla: to go on: mlla train resume={last}", file=sys.stderr)
        raise
    return 0


def _check_source(source: str) -> None:
    """Refuse local images that Ultralytics would pass over with a warning."""
    from mlla.data import check_images
    from mlla.data.images import IMAGE_SUFFIXES

    path = Path(source)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if path.is_dir() and not files:
        raise UsageError(f"source={source!r} is an empty folder; name images or a video")
    if problems := check_images(images):
        lines = "\n".join(f"  {problem.file}: {problem.detail}" for problem in problems[:10])
        more = f"\n  and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UsageError(
            f"{len(problems)} of {len(images)} images cannot be used:\n{lines}{more}\n"
            "replace or remove them; nothing was written"
        )


def _ultralytics() -> tuple[Any, dict[str, Any]]:
    try:
        from mlla.yolo import YOLO
    except ModuleNotFoundError as error:
        if error.name != "ultralytics":
            raise
        raise UsageError("this command needs Ultralytics: pip install 'mlla[yolo]'") from error
    from ultralytics.utils import DEFAULT_CFG_DICT

    return YOLO, DEFAULT_CFG_DICT
