"""A stand-in for trainings: writes within milliseconds what a worker leaves in a run folder."""

import gzip
import hashlib
import json
import random
from importlib.metadata import version
from pathlib import Path

from study_folder import drawn_detections

from mlla.study.files import read_json, write_json
from mlla.study.scoring.ground_truth import read_ground_truth

HEADER = "epoch,time,train/box_loss,train/cls_loss,metrics/mAP50(B),metrics/mAP50-95(B)"


class MadeUpTraining:
    """Called as `execute` is; remembers the order of runs.

    Args:
        fails: Names of arms whose runs fail.
        blind: Whether the seed changes nothing.
        stop_at: Number of the run during which Ctrl-C is pressed.
    """

    def __init__(self, fails=(), blind=False, stop_at=None):
        self.fails, self.blind, self.stop_at = fails, blind, stop_at
        self.trained = []

    def __call__(self, folder, *, device_env=None):
        folder = Path(folder)
        job = read_json(folder / "job.json")
        with (folder / "attempts.txt").open("a") as file:
            file.write("now\n")
        (folder / "failure.json").unlink(missing_ok=True)
        if job["predict"]:
            self.trained.append((job["arm"]["name"], job["seed"]))
            if self.stop_at is not None and len(self.trained) >= self.stop_at:
                raise KeyboardInterrupt
        if job["arm"]["name"] in self.fails:
            failure = {"error": "ValueError: made up", "traceback": "", "attempt": 1, "time": ""}
            write_json(folder / "failure.json", failure)
            return {"folder": str(folder), "state": "failed", "error": failure["error"]}
        self._write(folder, job)
        return {"folder": str(folder), "state": "done", "error": None}

    def _write(self, folder, job):
        seed = 0 if self.blind else job["seed"]
        epochs = job["settings"]["epochs"]
        (folder / "weights").mkdir(exist_ok=True)
        (folder / "weights" / "last.pt").write_text(f"made up with seed {seed}")
        rows = [
            f"{epoch},1,1,1,0.5,{random.Random(seed).random()}" for epoch in range(1, epochs + 1)
        ]
        (folder / "results.csv").write_text("\n".join([HEADER, *rows]) + "\n")
        seen = [hashlib.sha256(f"{seed} {epoch}".encode()).hexdigest() for epoch in range(epochs)]
        lines = [json.dumps({"epoch": n, "digest": d, "images": 1}) for n, d in enumerate(seen)]
        (folder / "seen.jsonl").write_text("\n".join(lines) + "\n")
        if job["predict"]:
            truth = read_ground_truth(job["data"], job["scored"])
            found = drawn_detections(truth, job["arm"]["name"], job["seed"], 0.0)
            packed = gzip.compress(json.dumps(found).encode(), mtime=0)
            (folder / "predictions.json.gz").write_bytes(packed)
        files = ["results.csv", "seen.jsonl", *(["predictions.json.gz"] if job["predict"] else [])]
        counts = {"tensors": 355, "shared_with_baseline": 355, "baseline_tensors": 355}
        outcome = {
            "arm": job["arm"]["name"],
            "seed": job["seed"],
            "counts": {**counts, "pretrained_kept": 0, "pretrained_tensors": 0},
            "start_sha256": "0",
            "seen": seen,
            "epochs": epochs,
            "train_seconds": 1.0,
            "attempts": 1,
            "peak_memory_bytes": 1,
            "peak_memory_kind": "process",
            "checkpoint": job["checkpoint"],
            "checkpoint_epoch": epochs,
            "parameters": 3_012_018,
            "versions": {name: version(name) for name in ("mlla", "ultralytics", "torch")},
            "device": "cpu",
            "files": {
                name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files
            },
        }
        write_json(folder / "outcome.json", outcome)
