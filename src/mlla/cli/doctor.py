"""`mlla doctor`: versions, devices, fast paths."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = {
    "torch": "needed",
    "torchvision": "needed",
    "timm": "needed",
    "numba": "fast loops on a CPU: pip install numba",
    "ultralytics": "YOLO models: pip install 'mlla[yolo]'",
    "lap": "mlla track: pip install 'mlla[yolo]'",
    "onnx": "mlla export format=onnx: pip install 'mlla[export]'",
    "onnxruntime": "running ONNX files: pip install 'mlla[export]'",
    "openvino": "mlla export format=openvino: pip install 'mlla[openvino]'",
    "nncf": "the same with int8=True: pip install 'mlla[openvino]'",
    "triton": "the kernels for NVIDIA GPUs; PyTorch for CUDA on Linux brings it",
}


def run(_command: str, words: Sequence[str]) -> int:
    """Print the findings; return 1 if something that is needed does not work."""
    if words:
        print("usage: mlla doctor")
        return 0 if words[0] in ("-h", "--help") else 2
    broken = []
    print(f"mlla {version('mlla')}, Python {platform.python_version()}, {platform.platform()}")
    print("\npackages")
    for name, purpose in PACKAGES.items():
        try:
            print(f"  {name:<12} {version(name)}")
        except PackageNotFoundError:
            print(f"  {name:<12} missing ({purpose})")
            if purpose == "needed":
                broken.append(name)
    if not broken:
        _print_devices()
        broken += _print_integration()
    print("\n" + (f"broken: {', '.join(broken)}" if broken else "all good"))
    return 1 if broken else 0


def _print_devices() -> None:
    import torch

    from mlla.ops.linear_attention import active_form as attention_form
    from mlla.ops.selective_scan import active_form as scan_form

    print("\ndevices")
    print(f"  cpu          {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            print(f"  cuda:{index}       {torch.cuda.get_device_name(index)}")
    else:
        built = torch.version.cuda
        print(f"  cuda         none ({'no GPU found' if built else 'this torch has no CUDA'})")
    mps = torch.backends.mps.is_available()
    print(f"  mps          {'available' if mps else 'none'}")
    print("\nfast paths (off with MLLA_FAST_PATHS=0)")
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        print(f"  {device:<5} linear attention   {attention_form(device)}")
        print(f"  {device:<5} selective scan     {scan_form(device)}")


def _print_integration() -> list[str]:
    print("\nUltralytics")
    try:
        register = importlib.import_module("mlla.yolo.register")
        rows = importlib.import_module("mlla.yolo.rows")
    except ImportError as error:
        print(f"  not usable: {error}")
        return ["ultralytics"] if "ultralytics" not in str(error.name) else []
    oldest, newest = register.TESTED_VERSIONS
    print(f"  tested from {oldest} to {newest}; the parser of this one passed the checks")
    print(f"  rows for model YAMLs: {', '.join(sorted(register.registered_rows()))}")
    print(f"  blocks for plug: {', '.join(sorted(rows.INSERTABLE))}")
    return []
