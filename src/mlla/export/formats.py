"""The formats that are checked here, what each needs, and how files are told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Format:
    """A format whose files are run after they were written.

    Args:
        title: What people call what runs it.
        suffix: What files of a timm model end with.
        packages: What is needed beside torch.
        int8_packages: What is needed further for eight bits; None where they are not offered.
        extra: The extra of this package that installs them.
    """

    title: str
    suffix: str
    packages: tuple[str, ...] = ()
    int8_packages: tuple[str, ...] | None = None
    extra: str = ""


CHECKED = {
    "onnx": Format("ONNX Runtime", ".onnx", ("onnx", "onnxruntime"), (), "export"),
    "openvino": Format("OpenVINO", "_openvino_model", ("openvino",), ("nncf",), "openvino"),
    "torchscript": Format("TorchScript", ".torchscript"),
    "torch_export": Format("torch.export", ".pt2"),
}


def refuse_unknown(name: str, known: Sequence[str]) -> None:
    """Check the name of a format, which Ultralytics would replace by the one most like it.

    Raises:
        ValueError: If `known` does not hold it.
    """
    if name not in known:
        near = get_close_matches(name, known, n=2)
        hint = f" did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"format={name!r} is unknown;{hint} this model can be exported to {', '.join(known)}"
        )


def check_packages(name: str, *, int8: bool = False) -> None:
    """Check that a format can be written and run here.

    Raises:
        ModuleNotFoundError: If a package is missing; it says which extra brings it.
        ValueError: If the format has no eight-bit form here.
    """
    if name not in CHECKED:
        return
    form = CHECKED[name]
    if int8 and form.int8_packages is None:
        offered = [key for key, other in CHECKED.items() if other.int8_packages is not None]
        raise ValueError(f"int8=True goes with format={' or '.join(offered)}, not {name!r}")
    packages = form.packages + ((form.int8_packages or ()) if int8 else ())
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(
            f"format={name!r}{' with int8=True' if int8 else ''} needs {' and '.join(missing)}, "
            f"not installed: pip install 'mlla[{form.extra}]'",
            name=missing[0],
        )


def format_of(file: str | Path) -> str:
    """Return the format of an exported file by its name.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none that is run here.
    """
    path = Path(file)
    if not path.exists():
        raise FileNotFoundError(f"file={str(path)!r} does not exist")
    if path.is_dir() and list(path.glob("*.xml")):
        return "openvino"
    for name, form in CHECKED.items():
        if path.is_file() and path.suffix == form.suffix:
            return name
    raise ValueError(
        f"file={str(path)!r} is none of the formats that are run here: "
        f"{', '.join(form.suffix for form in CHECKED.values())}"
    )
