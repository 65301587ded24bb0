"""`mlla data convert | demo | check`: datasets in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

HELP = """usage: mlla data convert SRC DST --from voc|coco|yolo [--split 0.8] [--test 0] [--seed 0]
                         [--group identical|near-duplicates] [--classes a,b] [--images FOLDER]
       mlla data demo DST [--num-images N] [--image-size-px N] [--seed 0]
       mlla data check DATA.yaml

  convert  write SRC as an Ultralytics dataset into the new folder DST, naming every fault it found
  demo     write the generated set of steel surfaces with six kinds of defects
  check    name every fault of an existing Ultralytics dataset"""


def run(_command: str, words: Sequence[str]) -> int:
    """Run one of the three."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    actions = {"convert": _convert, "demo": _demo, "check": _check}
    action, *rest = words
    if action not in actions:
        raise UsageError(f"{action!r} is not something data does{nearest(action, actions)}\n{HELP}")
    return actions[action](rest)


def _convert(words: Sequence[str]) -> int:
    from mlla.data import convert

    known = ("from", "split", "test", "group", "seed", "classes", "images")
    plain, options = read_options(words, known)
    if len(plain) != 2 or "from" not in options:
        raise UsageError(f"convert needs SRC, DST and --from\n{HELP}")
    classes = options.get("classes")
    report = convert(
        plain[0],
        plain[1],
        from_format=options["from"],
        split=_number(options, "split", 0.8),
        test=_number(options, "test", 0.0),
        group=options.get("group", "identical"),
        seed=int(_number(options, "seed", 0)),
        classes=classes.split(",") if classes else None,
        images=options.get("images"),
    )
    print(report.summary())
    print(f"\nwrote {report.data_yaml}; every problem is named in report.txt beside it")
    return 0


def _demo(words: Sequence[str]) -> int:
    from mlla.data import write_demo

    plain, options = read_options(words, known=("num_images", "image_size_px", "seed"))
    if len(plain) != 1:
        raise UsageError(f"demo needs DST\n{HELP}")
    numbers: dict[str, Any] = {key: int(_number(options, key, 0)) for key in options}
    path = write_demo(plain[0], **numbers)
    print(f"wrote {path}; train on it with: mlla train model=yolov8n-mlla data={path}")
    return 0


def _check(words: Sequence[str]) -> int:
    from mlla.data import check_dataset

    plain, _ = read_options(words, known=())
    if len(plain) != 1:
        raise UsageError(f"check needs the data.yaml\n{HELP}")
    report = check_dataset(plain[0])
    print(report.summary())
    return 1 if report.problems else 0


def _number(options: dict[str, str], key: str, default: float) -> float:
    value = value_of(options[key]) if key in options else default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"--{key.replace('_', '-')} must be a number, got {options[key]!r}")
    return value
