"""Training one row of the tables and scoring it: what the worker of a run does between stops."""

from __future__ import annotations

import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlla.study.files import file_digest, read_json, write_json
from mlla.study.runs.run_folder import JOB, OUTCOME, SEEN, num_attempts

PACKAGES = ("mlla", "timm", "torch", "numpy")
# in the folder of a run
TRAINING, TRAINED = "training", "trained.json"
PREDICTIONS, MEASURES = "predictions.npz", "measures.json"
STATE, WEIGHTS = "state.pt", "model.safetensors"


def train(folder: Path, job: dict[str, Any]) -> None:
    """Train to the end, unless an earlier attempt did."""
    import torch

    from mlla.study.six_designs.row_task import row_task
    from mlla.training import fit

    torch.set_num_threads(job["threads"])
    if (folder / TRAINED).exists():
        return
    task = row_task(job, folder / SEEN)
    best = fit(task, task.settings, folder / TRAINING)
    is_cuda = torch.cuda.is_available() and task.settings.device != "cpu"
    content = {
        "start_sha256": task.start_sha256,
        "best_epoch": int(best["epoch"]),
        "epochs": task.settings.epochs,
        "train_seconds": task.train_seconds(folder / TRAINING),
        "parameters": task.num_parameters,
        "device": torch.cuda.get_device_name() if is_cuda else _processor_name(),
        # main memory cannot be measured alike on all systems
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if is_cuda else None,
        "peak_memory_kind": "cuda" if is_cuda else None,
    }
    write_json(folder / TRAINED, content)


def finish(folder: Path, job: dict[str, Any]) -> None:
    """Score, measure, and write what came out; that makes the run complete."""
    trained = read_json(folder / TRAINED)
    trained.pop("format")
    checkpoint, weights = job["checkpoint"], f"{TRAINING}/{job['checkpoint']}/{WEIGHTS}"
    files = [JOB, SEEN, f"{TRAINING}/args.yaml", f"{TRAINING}/results.csv", weights]
    if job["predict"]:
        _predict(folder, job)
        files += [PREDICTIONS, MEASURES]
    best_epoch = trained.pop("best_epoch")
    outcome = {
        "arm": job["arm"]["name"],
        "seed": job["seed"],
        "counts": {},
        **trained,
        "seen": read_seen(folder / SEEN),
        "attempts": num_attempts(folder),
        "checkpoint": checkpoint,
        "checkpoint_epoch": best_epoch if checkpoint == "best" else trained["epochs"],
        "versions": {
            **{package: version(package) for package in PACKAGES},
            "python": platform.python_version(),
        },
        "files": {name: file_digest(folder / name) for name in files},
    }
    write_json(folder / OUTCOME, outcome)
    (folder / TRAINED).unlink()
    (folder / TRAINING / STATE).unlink(missing_ok=True)
    shutil.rmtree(folder / TRAINING / ("last" if checkpoint == "best" else "best"))
    print(f"done: {OUTCOME} is written")


def read_seen(path: Path) -> list[str]:
    """Return the digest of what was seen in each epoch."""
    return [json.loads(line)["digest"] for line in path.read_text(encoding="utf-8").splitlines()]


def _predict(folder: Path, job: dict[str, Any]) -> None:
    """Score on the images that nothing was chosen on, and measure what figures 4b and 5 show."""
    from mlla.classification import validate
    from mlla.study.six_designs.row_measures import measure_row

    settings, model = job["settings"], folder / TRAINING / job["checkpoint"]
    validate(
        model,
        job["data"],
        folder,
        split=job["scored"],
        batch=settings["batch"],
        workers=settings["workers"],
        precision=settings["precision"],
        device=settings["device"],
    )
    measures = measure_row(model, job["data"], job["scored"], device=settings["device"])
    write_json(folder / MEASURES, measures)


def _processor_name() -> str:
    return platform.processor() or platform.machine()
