"""Every kind of model in every runtime: the error of raw outputs and the time beside PyTorch.

    python benchmarks/deployment.py [--imgsz 640] [--docs docs/deployment.md] [NAME ...]
    python benchmarks/deployment.py --trained best.pt --data data.yaml [--docs docs/deployment.md]

The parity gate is that of `mlla export`: a file that differs is not timed. Models have fresh
weights. The second form prints what 16 and 8 bits cost a trained detector. `--docs` writes the
tables into the page, between its marks.
"""

import argparse
import json
import re
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from record import RESULTS, write_result

from mlla.export import TOLERANCE, Report, export

MODELS = [
    "mlla_tiny",
    "yolov8n-mlla",
    "yolov8n-c2f-mlla",
    "yolo11n-c3k2-mlla",
    "yolo26n-c3k2-mlla",
    "rtdetr-l-mlla-aifi",
    "mamba-yolo-t",
    "yolo11n-c3k2-vss",
]
FORMATS = ["onnx", "openvino", "torchscript", "torch_export"]
TITLES = {
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torchscript": "TorchScript",
    "torch_export": "torch.export",
}
CLASSIFIER_PX = 224


def main() -> None:
    options = read_options()
    torch.set_num_threads(options.threads)
    file = RESULTS / "deployment.json"
    # models measured in an earlier run stay
    content: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    rows, precisions = content.get("models", {}), content.get("precisions", {})
    if options.trained:
        precisions = measure_precisions(options.trained, options.data, options.imgsz)
        store(rows, precisions)
    else:
        for name in options.names or MODELS:
            rows[name] = measure_model(name, options.imgsz)
            store(rows, precisions)
    if options.docs:
        fill(options.docs, rows, precisions)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--imgsz", type=int, default=640, help="of detectors")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trained", help="a trained detector")
    parser.add_argument("--data", help="its data.yaml")
    parser.add_argument("--docs", type=Path, help="page to write the tables into")
    options = parser.parse_args()
    if bool(options.trained) != bool(options.data):
        parser.error("--trained and --data go together")
    return options


def measure_model(name: str, imgsz: int) -> dict[str, Any]:
    is_detector = name != "mlla_tiny"
    size = imgsz if is_detector else CLASSIFIER_PX
    row: dict[str, Any] = {"imgsz": size}
    for form in FORMATS:
        torch.manual_seed(0)
        fixed = is_detector and form == "torch_export"
        try:
            with tempfile.TemporaryDirectory() as folder:
                report = export(name, form, imgsz=size, dynamic=not fixed, out=folder)
        except (ModuleNotFoundError, RuntimeError) as error:
            row[form] = {"failed": str(error).splitlines()[0][:300]}
        else:
            row[form] = cell(report)
        print(name, TITLES[form], row[form], flush=True)
    return row


def cell(report: Report) -> dict[str, float]:
    assert report.latency is not None
    return {
        "error": float(f"{report.error:.1e}"),
        "sizes": len({difference.shape for difference in report.differences}),
        "pytorch_ms": round(report.latency.pytorch_ms, 1),
        "ratio": round(report.latency.ratio, 2),
    }


def measure_precisions(trained: str, data: str, imgsz: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for form in ("onnx", "openvino"):
        for precision in ({}, {"half": True}, {"int8": True}):
            with tempfile.TemporaryDirectory() as folder:
                report = export(trained, form, imgsz=imgsz, data=data, out=folder, **precision)
            assert report.scores is not None
            name = f"{TITLES[form]}, {report.precision}"
            found[name] = {
                **cell(report),
                "error": float(f"{report.variant_error if precision else report.error:.1e}"),
                "measure": report.scores.measure,
                "pytorch": round(report.scores.pytorch, 4),
                "exported": round(report.scores.exported, 4),
            }
            print(name, found[name], flush=True)
    return {"model": Path(trained).name, "imgsz": imgsz, "rows": found}


def store(rows: dict[str, Any], precisions: dict[str, Any]) -> None:
    versions = {}
    for package in ("ultralytics", "onnxruntime", "openvino", "nncf"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    write_result(
        "deployment",
        {"tolerance": TOLERANCE, "models": rows, "precisions": precisions},
        **versions,
    )


def fill(page: Path, rows: dict[str, Any], precisions: dict[str, Any]) -> None:
    """Write the tables between the marks of the page."""
    conditions = json.loads((RESULTS / "deployment.json").read_text())["conditions"]
    packages = ("torch", "ultralytics", "onnxruntime", "openvino")
    where = (
        f"{conditions['device']}, {conditions['threads']} thread(s), {conditions['date']}; "
        + ", ".join(f"{name} {conditions[name]}" for name in packages)
    )
    lines = [
        f"Measured on {where}.",
        "",
        f"| model | px | PyTorch, ms | {' | '.join(TITLES[form] for form in FORMATS)} |",
        f"|---|---|---|{'---|' * len(FORMATS)}",
    ]
    for name, row in rows.items():
        times = [row[form]["pytorch_ms"] for form in FORMATS if "pytorch_ms" in row[form]]
        cells = " | ".join(text(row[form]) for form in FORMATS)
        lines.append(f"| `{name}` | {row['imgsz']} | {min(times, default=0):.0f} | {cells} |")
    lines += ["", "A cell is the largest relative error, then time relative to PyTorch."]
    if precisions:
        lines += ["", "| precision | error | time / PyTorch | AP50-95 | PyTorch | difference |"]
        lines += ["|---|---|---|---|---|---|"]
        for name, row in precisions["rows"].items():
            difference = row["exported"] - row["pytorch"]
            lines.append(
                f"| {name} | {row['error']:.0e} | {row['ratio']} | {row['exported']:.4f} | "
                f"{row['pytorch']:.4f} | {difference:+.4f} |"
            )
    marks = r"(<!-- measured -->\n).*?(\n<!-- end of measured -->)"
    content = page.read_text(encoding="utf-8")
    page.write_text(
        re.sub(marks, lambda m: m[1] + "\n".join(lines) + m[2], content, flags=re.DOTALL),
        encoding="utf-8",
    )


def text(found: dict[str, Any]) -> str:
    if "failed" in found:
        return "not exported"
    return f"{found['error']:.0e}, {found['ratio']:.2f}"


if __name__ == "__main__":
    main()
