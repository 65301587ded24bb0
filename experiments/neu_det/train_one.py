"""Train one model, score it on the test images, collect its pictures; called by run.py."""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
import ultralytics
from sheet import draw_sheet

from mlla.yolo import YOLO

# for short trainings from scratch: a step every batch, and biases that warm up like the rest
OPTIMIZATION = {
    "optimizer": "AdamW",
    "lr0": 0.002,
    "momentum": 0.9,
    "warmup_epochs": 1,
    "warmup_bias_lr": 0.0,
    "patience": 0,
    "pretrained": False,
}
# names differ between versions of Ultralytics
PICTURES = {
    "label_statistics.jpg": "train/labels.jpg",
    "training_curves.png": "train/results.png",
    "confusion_matrix.png": "test_sure/confusion_matrix.png",
    "confusion_matrix_normalized.png": "test_sure/confusion_matrix_normalized.png",
    "precision_recall_curves.png": "test/*PR_curve.png",
    "first_batch_with_augmentation.jpg": "train/train_batch0.jpg",
}


def main(job: dict) -> None:
    settings = dict(job["settings"])
    fraction, threads = settings.pop("fraction"), settings.pop("threads")
    torch.set_num_threads(threads)
    work, name = Path(job["work"]), Path(job["result"]).stem
    folder = work / "runs" / name
    # what an interruption left
    shutil.rmtree(folder, ignore_errors=True)
    places = {"project": str(folder), "exist_ok": True, "plots": True, "workers": 0}

    started = time.perf_counter()
    # a bare name would mean pretrained weights
    model = YOLO(job["model"] if Path(job["model"]).suffix else f"{job['model']}.yaml")
    # Ultralytics sets its own number of threads
    model.add_callback("on_train_start", lambda _: torch.set_num_threads(threads))
    amp = settings["device"] != "cpu"
    model.train(data=job["data"], seed=job["seed"], name="train", nbs=settings["batch"], amp=amp,
                **settings, **OPTIMIZATION, **places)  # fmt: skip
    minutes = (time.perf_counter() - started) / 60

    # the last epoch, as no image may choose the weights
    last = YOLO(folder / "train" / "weights" / "last.pt")
    chosen = {key: settings[key] for key in ("imgsz", "batch", "device")}
    scores = last.val(data=job["data"], split="test", name="test", **chosen, **places)
    # the matrix of a user's view: some versions would count boxes of 0.1 % confidence otherwise
    last.val(data=job["data"], split="test", name="test_sure", conf=0.25, **chosen, **places)
    pictures = collect_pictures(folder)
    data = Path(job["data"]).parent
    draw_sheet(last, data, pictures / "truth_and_predictions.jpg", chosen)

    result = {
        "split": job["split"],
        "model": Path(job["model"]).stem,
        "seed": job["seed"],
        "settings": job["settings"],
        "training_images": count_images(data, fraction),
        "parameters": sum(p.numel() for p in last.model.parameters()),
        "train_minutes": round(minutes, 1),
        "test_mAP50": round(float(scores.box.map50), 4),
        "test_mAP50-95": round(float(scores.box.map), 4),
        "test_AP50": {
            last.names[int(index)]: round(float(ap), 4)
            for index, ap in zip(scores.box.ap_class_index, scores.box.ap50, strict=True)
        },
        "environment": environment(settings["device"]),
    }
    write_whole(Path(job["result"]), json.dumps(result, indent=1) + "\n")


def collect_pictures(folder: Path) -> Path:
    """Copy the pictures of training and test to one folder under names that say what they are."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for name, pattern in PICTURES.items():
        # a model that finds nothing gets no curves from some versions
        for found in folder.glob(pattern):
            shutil.copyfile(found, pictures / name)
    return pictures


def count_images(data: Path, fraction: float) -> int:
    if fraction == 1:
        return sum(1 for _ in (data / "images" / "train").iterdir())
    return len((data / f"train_{fraction}.txt").read_text().splitlines())


def environment(device: object) -> dict[str, str]:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    on_gpu = device != "cpu" and torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
        "commit": commit or "not a git checkout",
    }


def write_whole(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    os.replace(partial, path)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
