"""`mlla export`: another format for a model, checked against PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

HELP = """usage: mlla export model=... [format=onnx] [key=value ...]

  model    best.pt, a YAML or a packaged name (`mlla models`) of a detector; a folder with weights,
           a published .pth or a name of timm, such as mlla_tiny
  format   onnx, openvino, torchscript, torch_export; for detectors also engine, coreml, ncnn and
           what else Ultralytics writes, which is exported but not run here
  out      folder to write to; default: that of the checkpoint, else the current one
  imgsz    pixels of both sides, or height,width
  batch    images at once (1)
  dynamic  whether batch, height and width stay open; default: no for detectors, yes for others
  int8     eight bits, calibrated with the images of data=
  half     16-bit numbers, for detectors
  data     data.yaml, or the folder of a classifier's images: prints what the export costs there
  others   those of Ultralytics, such as nms, opset, simplify, device

The file is run beside PyTorch and gets its name only if its raw outputs are the same to 1e-4.
Exit code 1: the export was wrong, and nothing was kept."""

_OWN = ("model", "format", "out", "imgsz", "batch", "dynamic", "int8", "half", "data")
_FLAGS = ("dynamic", "int8", "half")
_OPTIONS = ("opset",)


def run(_command: str, words: Sequence[str]) -> int:
    """Export a model and print what was compared."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    further = _host_defaults()
    flags = [*_FLAGS, *(key for key, value in further.items() if isinstance(value, bool))]
    known = [*_OWN, *_OPTIONS, *further, "mode"]
    plain, texts = read_options(words, known=known, flags=flags)
    if plain:
        raise UsageError(f"{plain[0]!r} is not key=value{nearest(plain[0], known)}")
    options = {key: value_of(text) for key, text in texts.items()}
    options.pop("mode", None)
    if options.get("model") is None:
        raise UsageError("mlla export needs model=...; `mlla models` lists the models")
    for flag in _FLAGS:
        if not isinstance(options.get(flag, False), bool):
            raise UsageError(f"{flag}={texts[flag]} must be True or False")
    from mlla.export import WrongExportError, export

    try:
        report = export(str(options.pop("model")), **_with_precision(options))
    except WrongExportError as error:
        print(f"mlla: {error}", file=sys.stderr)
        return 1
    print(report)
    return 0


def _with_precision(options: dict[str, Any]) -> dict[str, Any]:
    """Read `quantize`, the newer name of the two precisions in Ultralytics."""
    quantize = options.pop("quantize", None)
    names = {8: "int8", "int8": "int8", 16: "half", "fp16": "half"}
    if quantize in names:
        return {**options, names[quantize]: True}
    if quantize not in (None, 32):
        raise UsageError(f"quantize={quantize!r} must be 8, 16 or 32")
    return options


def _host_defaults() -> dict[str, Any]:
    try:
        from ultralytics.utils import DEFAULT_CFG_DICT

        import mlla.yolo  # noqa: F401  - it keeps Ultralytics off the network
    except ModuleNotFoundError as error:
        if error.name != "ultralytics":
            raise
        return {}
    return dict(DEFAULT_CFG_DICT)
