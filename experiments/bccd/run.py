"""Train two or more models on BCCD with the same budget and several seeds, one process a run.

    python experiments/bccd/run.py BCCD_FOLDER WORK_FOLDER [--models a,b] [--seeds 0,1,2]

Finished runs are kept: the same command goes on where it stopped. Writes results.json beside this
file; the report is README.md.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SETTINGS = {
    "epochs": 30,
    "imgsz": 160,
    "batch": 8,
    "optimizer": "AdamW",
    "lr0": 0.002,
    "momentum": 0.9,
    "warmup_bias_lr": 0.0,
    "patience": 0,
    "amp": False,
    "pretrained": False,
    "workers": 0,
    "device": "cpu",
    "plots": False,
    "exist_ok": True,
    "verbose": False,
}


def train(data: Path, work: Path, model: str, seed: int) -> None:
    import torch

    from mlla.yolo import YOLO

    torch.set_num_threads(1)
    started = time.perf_counter()
    run = YOLO(model)
    project = str((work / "runs").resolve())
    run.train(data=str(data), seed=seed, project=project, name=f"{model}-{seed}", **SETTINGS)
    seconds = time.perf_counter() - started
    weights = work / "runs" / f"{model}-{seed}" / "weights"
    scores = {}
    for checkpoint, split in (("last", "val"), ("last", "test"), ("best", "val"), ("best", "test")):
        metrics = YOLO(weights / f"{checkpoint}.pt").val(
            data=str(data), split=split, imgsz=SETTINGS["imgsz"], batch=8, workers=0, plots=False,
            device="cpu", project=str(work / "val"), name=f"{model}-{seed}", exist_ok=True,
        )  # fmt: skip
        scores[f"{checkpoint}.pt on {split}"] = {
            "mAP50": round(float(metrics.box.map50), 4),
            "mAP50-95": round(float(metrics.box.map), 4),
            "per class AP50": [round(float(ap), 4) for ap in metrics.box.ap50],
        }
    parameters = sum(p.numel() for p in YOLO(model).model.parameters())
    result = {
        "model": model,
        "seed": seed,
        "parameters_at_80_classes": parameters,
        "train_minutes": round(seconds / 60, 1),
        "scores": scores,
    }
    (work / f"{model}-{seed}.json").write_text(json.dumps(result, indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--models", default="yolov8n.yaml,yolov8n-mlla.yaml")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    data = options.work / "data" / "data.yaml"
    if options.one:
        train(data, options.work, options.one[0], int(options.one[1]))
        return
    if not data.exists():
        from mlla.data import convert

        print(convert(options.source, data.parent, from_format="voc").summary())
    jobs = [
        (model, seed) for seed in options.seeds.split(",") for model in options.models.split(",")
    ]

    def run(job: tuple[str, str]) -> None:
        if (options.work / f"{job[0]}-{job[1]}.json").exists():
            return
        command = [sys.executable, __file__, str(options.source), str(options.work), "--one", *job]
        with (options.work / f"{job[0]}-{job[1]}.log").open("w") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT).returncode
        print(*job, "failed, see its .log" if code else "done", flush=True)

    with ThreadPoolExecutor(options.processes) as pool:
        list(pool.map(run, jobs))
    import torch
    import ultralytics

    results = [json.loads(file.read_text()) for file in sorted(options.work.glob("*.json"))]
    versions = {"torch": torch.__version__, "ultralytics": ultralytics.__version__}
    content = {"settings": SETTINGS, "threads": 1, "versions": versions, "runs": results}
    (Path(__file__).parent / "results.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
