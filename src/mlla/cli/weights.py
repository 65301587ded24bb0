"""`mlla weights convert | check`: published files into folders, and what a folder is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlla.cli.arguments import UsageError, nearest, read_options, value_of

HELP = """usage: mlla weights convert file=PUBLISHED.pth out=FOLDER [overwrite=False]
       mlla weights check FOLDER

  convert  turn a .pth file of MLLA's or VM-UNet's authors into a folder with config.json,
           model.safetensors and certificate.json; timm and mlla.models.from_pretrained read it
  check    compare a folder with its digests, build the model, load it and run it once

The exit code is 0, 1 if a check failed, 2 for an error with a remedy."""


def run(_command: str, words: Sequence[str]) -> int:
    """Run one of the two."""
    if not words or any(word in ("-h", "--help") for word in words):
        print(HELP)
        return 0 if words else 2
    actions = {"convert": _convert, "check": _check}
    action, *rest = words
    if action not in actions:
        raise UsageError(
            f"{action!r} is not something weights does{nearest(action, actions)}\n{HELP}"
        )
    return actions[action](rest)


def _convert(words: Sequence[str]) -> int:
    from mlla.models.convert_published import convert_published

    plain, options = read_options(words, known=("file", "out"), flags=("overwrite",))
    if plain or {"file", "out"} - options.keys():
        raise UsageError(f"convert needs file=PUBLISHED.pth and out=FOLDER\n{HELP}")
    overwrite = value_of(options.get("overwrite", "False"))
    if not isinstance(overwrite, bool):
        raise UsageError(f"overwrite must be True or False, got {options['overwrite']!r}")
    certificate = convert_published(options["file"], options["out"], overwrite=overwrite)
    print(f"wrote {options['out']}: config.json, model.safetensors, certificate.json")
    _print_certificate(certificate)
    return 0


def _check(words: Sequence[str]) -> int:
    from mlla.models.check_weights import check_weights

    plain, _ = read_options(words, known=())
    if len(plain) != 1:
        raise UsageError(f"check needs one FOLDER\n{HELP}")
    folder = Path(plain[0])
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    report = check_weights(folder)
    for fault in report.faults:
        print(f"fault: {fault}")
    if report.faults:
        return 1
    print(f"{folder}: {report.architecture}, {report.parameters:,} parameters, {report.digest}")
    if report.certificate is None:
        print("no certificate.json: not converted from a file of the authors")
    else:
        _print_certificate(report.certificate)
    return 0


def _print_certificate(certificate: dict[str, Any]) -> None:
    file, source, tensors = (certificate[key] for key in ("file", "source", "tensors"))
    print(f"  from     {file['name']}, {file['bytes']:,} bytes")
    print(f"  sha256   {file['sha256']}")
    print(f"  format   {source['repository']} @{source['commit']}, {source['paper']}")
    print(
        f"  tensors  {tensors['in_file']} in the file, {tensors['read']} read, "
        f"{tensors['renamed']} renamed, {tensors['dropped']} dropped"
        + (f" ({tensors['why_dropped']})" if tensors["dropped"] else "")
    )
    parity = certificate["parity"]
    if parity is None:
        print("  parity   this size was not compared with the authors' code")
    else:
        print(
            f"  parity   {parity['outputs']} of the authors' code to "
            f"{parity['largest_error']:.1e} ({parity['case']}, random weights)"
        )
    print("  reloaded the same bits")
