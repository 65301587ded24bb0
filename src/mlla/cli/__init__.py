"""The `mlla` command: words and pixels in, one library call, words and pixels out.

Heavy libraries are imported by the commands that need them, so help and lists answer at once.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from mlla.cli.arguments import UsageError, nearest

YOLO_MODES = ("train", "val", "predict", "track", "export")
# command: (module, what it does)
COMMANDS = {
    "train": ("yolo_modes", "train a model: model=yolov8n-mlla data=data.yaml epochs=100"),
    "val": ("yolo_modes", "score a checkpoint: model=best.pt data=data.yaml"),
    "predict": ("yolo_modes", "draw what a checkpoint finds: model=best.pt source=images/"),
    "track": ("yolo_modes", "follow objects through a video: model=best.pt source=film.mp4"),
    "export": ("export", "write another format, checked: model=best.pt format=onnx dynamic=True"),
    "compare": ("compare", "does it help on my data? data=data.yaml models=yolov8n,yolov8n-mlla"),
    "plug": ("plug", "insert a block, keep every weight: model=yolov8n.pt at=neck out=new.pt"),
    "data": ("data", "convert or check a dataset, or write the demo set"),
    "check": ("check", "tell what is wrong with a pasted attention: FILE.py:Class (runs it)"),
    "audit": ("audit", "what runs you already have are worth: RUNS_DIR [data=data.yaml]"),
    "study": ("study", "the paper's tables on your images: six-designs data=FOLDER seeds=6"),
    "classify": ("classify", "train or score a classifier: train model=mlla_tiny data=FOLDER"),
    "mask-rcnn": ("mask_rcnn", "Mask R-CNN, COCO in and out: train data=FOLDER out=DIR"),
    "semantic": ("semantic", "semantic segmentation, mean IoU out: train data=FOLDER out=DIR"),
    "weights": ("weights", "published files into folders: convert file=MLLA-T.pth out=mlla-t"),
    "models": ("models", "list every model with its parameters and GFLOPs"),
    "doctor": ("doctor", "say what is installed, which devices and fast paths are active"),
}
USAGE_CODE, INTERRUPT_CODE = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `mlla`; by default those of the command line.

    Returns:
        The exit code: 0, 1 for a failed check, 2 for an error with a remedy, 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words[0] in ("-V", "--version", "version"):
        from mlla import __version__

        print(f"mlla {__version__}")
        return 0
    try:
        command, rest = _split(words)
        module = importlib.import_module(f"mlla.cli.{COMMANDS[command][0]}")
        return module.run(command, rest)
    except KeyboardInterrupt:
        print("mlla: interrupted", file=sys.stderr)
        return INTERRUPT_CODE
    except BrokenPipeError:
        # the reader, such as `head`, has all that it wanted; nothing more may be written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UsageError, OSError, ValueError, SyntaxError, RuntimeError, ImportError) as error:
        if os.environ.get("MLLA_TRACEBACK"):
            raise
        print(f"mlla: error: {error}", file=sys.stderr)
        if not isinstance(error, UsageError):
            print("mlla: MLLA_TRACEBACK=1 shows where it came from", file=sys.stderr)
        return USAGE_CODE


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Find the command; Ultralytics lets a task stand before it, as in `detect train`."""
    first, *rest = words
    if first in COMMANDS:
        return first, rest
    if rest and rest[0] in YOLO_MODES and "=" not in first and not first.startswith("-"):
        return rest[0], [f"task={first}", *rest[1:]]
    raise UsageError(f"{first!r} is not a command{nearest(first, COMMANDS)}; see `mlla --help`")


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "mlla: Mamba-like linear attention for detectors and vision backbones",
            "",
            "usage: mlla COMMAND [key=value ...]      (or --key value)",
            "",
            *lines,
            "",
            "train, val, predict, track and export take every argument of Ultralytics' `yolo`.",
            "`mlla plug --help` and `mlla data --help` say more. Nothing is downloaded unless",
            "the environment variable YOLO_OFFLINE is false.",
        ]
    )
