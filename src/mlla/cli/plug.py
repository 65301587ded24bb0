"""`mlla plug`: insert a block into a checkpoint and save the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlla.cli.arguments import UsageError, read_options

HELP = """usage: mlla plug model=yolov8n.pt [block=mlla] [at=neck] [gate=zero]
                 [out=yolov8n-mlla-neck.pt]

  model  a checkpoint, or the name of a model
  block  mlla, multiscale_attention, or a class of yours: FILE.py:Class, package.module:Class
         (called with the width alone; it keeps the shape of a map (B, C, H, W));
         or a control: identity, conv_like_mlla, conv_like_multiscale_attention,
         conv_like:FILE.py:Class (plain convolutions of as many parameters),
         conv_like:yolov8n-mlla (of as many parameters as that model has more)
  at     neck (between neck and head), p5 (end of the backbone), or row numbers: at=4,6,9
  gate   zero: the result computes what the original does until it is trained; or none
  out    the file to write; an existing file is refused"""


def run(_command: str, words: Sequence[str]) -> int:
    """Plug, save, and say what was kept."""
    if any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0
    plain, options = read_options(words, known=("model", "block", "at", "gate", "out"))
    if plain:
        raise UsageError(f"{plain[0]!r} is not key=value\n{HELP}")
    if "model" not in options:
        raise UsageError(f"mlla plug needs model=...\n{HELP}")
    out = Path(options["out"]) if "out" in options else None
    if out is not None:
        _check_free(out)
    from mlla.yolo import plug
    from mlla.yolo.block_names import folder_of

    result = plug(
        options["model"],
        block=options.get("block", "mlla"),
        at=options.get("at", "neck"),
        gate=options.get("gate", "zero"),
    )
    if out is None:
        out = Path(result.cfg).with_suffix(".pt")
        _check_free(out)
    draft = out.with_name(f".{out.name}.writing")
    try:
        result.save(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    print(f"wrote {out}; train it with: mlla train model={out} data=...")
    if folder := folder_of(result.model.yaml["plug"]["block"]):
        print(f"it needs the file of the block: put {folder} on PYTHONPATH to open it")
    return 0


def _check_free(out: Path) -> None:
    if out.suffix != ".pt":
        raise UsageError(f"out={str(out)!r} must end in .pt")
    if out.exists():
        raise UsageError(f"out={str(out)!r} exists; choose another name or remove it")
    if not out.parent.is_dir():
        raise UsageError(f"out={str(out)!r}: the folder {out.parent} does not exist")
