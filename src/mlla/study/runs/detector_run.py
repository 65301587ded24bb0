"""Training one detector and letting it predict: what the worker of a run does between stops."""

from __future__ import annotations

import gzip
import io
import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mlla.study.files import file_digest, write_json, write_whole
from mlla.study.planning.arms import Arm, search_blocks_in
from mlla.study.runs.private_settings import PRIVATE_SETTINGS, use_private_settings
from mlla.study.runs.run_folder import JOB, OUTCOME, PREDICTIONS, START, num_attempts

PACKAGES = ("mlla", "ultralytics", "torch", "numpy", "hotcoco")
NAMED_FILES = (JOB, "args.yaml", "results.csv", "seen.jsonl", "weights/best.pt", "weights/last.pt")


def train(folder: Path, job: dict[str, Any]) -> None:
    """Train to the end, unless an earlier attempt did."""
    # ultralytics reads its settings when it is imported
    use_private_settings(folder / PRIVATE_SETTINGS)
    search_blocks_in(job["arm"]["python_path"])
    from mlla.yolo import RTDETR, YOLO
    from mlla.yolo.repeatable import (
        TRAINED,
        RepeatableDetectionTrainer,
        RepeatableRTDETRTrainer,
        use_threads,
    )

    use_threads(job["threads"])
    if (folder / TRAINED).exists():
        return
    if not (folder / START).exists():
        _write_start(folder / START, job)
    model = YOLO(str(folder / START))
    is_rtdetr = isinstance(model, RTDETR)
    model.train(
        trainer=RepeatableRTDETRTrainer if is_rtdetr else RepeatableDetectionTrainer,
        **{
            **job["settings"],
            "data": job["data"],
            "seed": job["seed"],
            "project": str(folder.parent),
            "name": folder.name,
            "exist_ok": True,
            "pretrained": True,
        },
    )


def _write_start(path: Path, job: dict[str, Any]) -> None:
    """Write the initial weights, in full precision, and what they were made of."""
    import torch

    from mlla.data.data_yaml import read_data_yaml
    from mlla.yolo.start import build_start

    model, counts = build_start(
        Arm.from_dict(job["arm"]),
        Arm.from_dict(job["baseline"]),
        seed=job["seed"],
        num_classes=job["num_classes"],
        pretrained=job["pretrained"],
    )
    network: Any = model.model
    # Ultralytics 8.4 would sort the rows of the head by the names of classes
    network.names = dict(enumerate(read_data_yaml(Path(job["data"]), []).names))
    buffer = io.BytesIO()
    content = {"epoch": -1, "model": network, "train_args": {"task": "detect"}, "counts": counts}
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def finish(folder: Path, job: dict[str, Any]) -> None:
    """Predict, and write what came out; that makes the run complete."""
    import torch

    from mlla.yolo.repeatable import STATE, TRAINED

    trained = json.loads((folder / TRAINED).read_text(encoding="utf-8"))
    counts = torch.load(folder / START, map_location="cpu", weights_only=False)["counts"]
    files = list(NAMED_FILES)
    if job["predict"]:
        _write_predictions(folder, job)
        files.append(PREDICTIONS)
    best_epoch = trained.pop("best_epoch")
    outcome = {
        "arm": job["arm"]["name"],
        "seed": job["seed"],
        "counts": counts,
        **trained,
        "attempts": num_attempts(folder),
        "checkpoint": job["checkpoint"],
        "checkpoint_epoch": best_epoch if job["checkpoint"] == "best" else trained["epochs"],
        "versions": _versions(),
        "files": {name: file_digest(folder / name) for name in files},
    }
    write_json(folder / OUTCOME, outcome)
    for name in (START, STATE, TRAINED):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PRIVATE_SETTINGS, ignore_errors=True)
    print(f"done: {OUTCOME} is written")


def _write_predictions(folder: Path, job: dict[str, Any]) -> None:
    from mlla.study.scoring.ground_truth import read_ground_truth
    from mlla.study.scoring.predictions import predict
    from mlla.yolo import YOLO

    images = read_ground_truth(job["data"], job["scored"]).images
    settings = job["settings"]
    model = YOLO(str(folder / "weights" / f"{job['checkpoint']}.pt"))
    device = settings.get("device")
    found = predict(model, images, imgsz=settings["imgsz"], device=device)
    # without a time in it, equal predictions make equal files
    write_whole(folder / PREDICTIONS, gzip.compress(json.dumps(found).encode(), mtime=0))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # only the package that scores may be missing, and it does so later
            continue
    return found
