"""A complete small study folder, made up: true labels, and runs whose detections are drawn.

No network is trained: every run finds the labelled objects with noise, the less of it the more
skill its arm has, so that collecting, reporting and auditing can be tried within a second.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlla.data import write_demo
from mlla.study.scoring.ground_truth import GroundTruth, read_ground_truth

IMGSZ, EPOCHS, NUM_SPARE_IMAGES = 96, 12, 16
VERSIONS = {"mlla": "0.1.0", "ultralytics": "8.4.190", "torch": "2.15.0", "python": "3.11.7"}
PARAMETERS = {"baseline": 3_012_018, "variant": 3_112_018, "convolution": 3_111_900}


def arm(name: str, kind: str, **changes: Any) -> dict[str, Any]:
    """Return an arm as study.json holds it."""
    plain = {"block": None, "at": None, "gate": None, "control_of": None, "python_path": []}
    return {"name": name, "kind": kind, "model": f"{name.split('+')[0]}.yaml", **plain, **changes}


BASELINE = arm("yolov8n", "baseline")
YAML_VARIANT = arm("yolov8n-mlla", "variant")
PLUG_VARIANT = arm("yolov8n+mlla@neck", "variant", block="mlla", at="neck", gate="zero")
CONTROLS = {"control_of": "yolov8n+mlla@neck", "at": "neck"}
CONVOLUTION = arm(
    "yolov8n+conv_like_mlla@neck", "convolution", block="conv_like_mlla", gate="zero", **CONTROLS
)
IDENTITY = arm("yolov8n+identity@neck", "identity", block="identity", gate="none", **CONTROLS)
# how much better than the baseline each arm is; one point of skill is some 0.2 of AP
SKILLS = {
    "yolov8n": 0.0,
    "yolov8n-mlla": -0.4,
    "yolov8n+mlla@neck": 0.35,
    "yolov8n+conv_like_mlla@neck": 0.3,
    "yolov8n+identity@neck": 0.0,
}
ARMS = (BASELINE, YAML_VARIANT, PLUG_VARIANT, CONVOLUTION, IDENTITY)


def write_study_folder(
    out: Path,
    *,
    arms: Collection[Mapping[str, Any]] = ARMS,
    skills: Mapping[str, float] = SKILLS,
    seeds: int = 5,
    num_images: int = 60,
    failed: Collection[tuple[str, int]] = (),
    unfinished: Collection[tuple[str, int]] = (),
    weights: bool = False,
) -> Path:
    """Write a study and, beside it in `<name>-images`, its dataset.

    Args:
        out: The folder to create.
        arms: Arms as in study.json; the first is the baseline.
        skills: Skill of each arm beyond that of the baseline; an identity arm repeats the baseline.
        seeds: Runs of each arm.
        num_images: Images of the scored split.
        failed: Names and seeds of runs that failed.
        unfinished: Names and seeds of runs that were never started.
        weights: Whether the run of seed 0 of each arm has a real, untrained weights/best.pt.

    Returns:
        `out`.
    """
    dataset = write_demo(
        out.parent / f"{out.name}-images",
        num_images=num_images + NUM_SPARE_IMAGES,
        image_size_px=IMGSZ,
        quiet=True,
    )
    splits = _write_lists(out, dataset.parent, num_images)
    truth = read_ground_truth(out / "data" / "data.yaml")
    names = [category["name"] for category in truth.coco["categories"]]
    _write_json(out / "study.json", _plan(list(arms), seeds, dataset, out, names, splits))
    for one in arms:
        for seed in range(seeds):
            folder = out / "runs" / one["name"] / f"seed-{seed}"
            if (one["name"], seed) in unfinished:
                continue
            folder.mkdir(parents=True)
            if (one["name"], seed) in failed:
                failure = {
                    "format": 1,
                    "error": "RuntimeError: made up",
                    "traceback": "...",
                    "attempt": 1,
                }
                _write_json(folder / "failure.json", {**failure, "time": "2026-01-01T00:00:00"})
                continue
            _write_run(folder, one, seed, truth, skills.get(one["name"], 0.0))
            if weights and seed == 0:
                _write_weights(folder, one)
            _write_outcome(folder, one, seed)
    return out


def drawn_detections(
    truth: GroundTruth, arm_name: str, seed: int, skill: float
) -> list[dict[str, Any]]:
    """Draw what a run finds: boxes near the objects, some missed, some classes wrong, some false.

    Every object is as hard for all arms; a run likes some images more than others.
    """
    hard = np.random.default_rng(1).normal(0, 0.7, len(truth.coco["annotations"]))
    digest = hashlib.sha256(arm_name.encode()).digest()
    generator = np.random.default_rng([seed, *digest])
    skill = 0.8 + skill + generator.normal(0, 0.05)
    liking = generator.normal(0, 0.3, len(truth.images))
    num_classes, found = len(truth.coco["categories"]), []

    def add(image: int, category: int, box: np.ndarray, quality: float) -> None:
        score = 1 / (1 + np.exp(-quality - generator.normal(0, 0.5)))
        entry = {"image_id": image, "category_id": category, "bbox": box.round(2).tolist()}
        found.append({**entry, "score": round(float(score), 5)})

    for difficulty, annotation in zip(hard, truth.coco["annotations"], strict=True):
        image, category = annotation["image_id"], annotation["category_id"]
        quality = float(skill + liking[image] - difficulty)
        x, y, width, height = annotation["bbox"]
        reach = 0.12 * np.exp(-0.6 * quality) * np.array([width, height, width, height])
        box = np.array([x, y, width, height]) + reach * generator.normal(0, 1, 4)
        if generator.random() < 0.08:
            category = int(generator.integers(num_classes))
        if quality > -1.5:
            add(image, category, np.maximum(box, [0, 0, 2, 2]), quality)
    for image in range(len(truth.images)):
        for _ in range(generator.poisson(1.5)):
            box = generator.uniform([0, 0, 8, 8], [60, 60, 36, 36])
            add(image, int(generator.integers(num_classes)), box, generator.normal(-1.5, 0.7))
    return found


def _write_lists(out: Path, dataset: Path, num_images: int) -> dict[str, dict[str, Any]]:
    """Write the image lists of a study and its data.yaml; the splits of the demo do not matter."""
    images = sorted((dataset / "images").rglob("*.png"), key=lambda image: image.name)
    half = num_images + NUM_SPARE_IMAGES // 2
    parts = {"test": images[:num_images], "val": images[num_images:half], "train": images[half:]}
    (out / "data").mkdir(parents=True)
    splits = {}
    for split, part in parts.items():
        text = "".join(f"{image}\n" for image in part)
        (out / "data" / f"{split}.txt").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        splits[split] = {"images": len(part), "sha256": digest}
    names = (dataset / "data.yaml").read_text().partition("names:")[2]
    (out / "data" / "data.yaml").write_text(
        f"path: {out / 'data'}\ntrain: train.txt\nval: val.txt\ntest: test.txt\nnames:{names}"
    )
    return splits


def _plan(
    arms: list[Any],
    seeds: int,
    dataset: Path,
    out: Path,
    names: list[str],
    splits: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Return the content of study.json."""
    optimizer = {"optimizer": "AdamW", "lr0": 0.001, "momentum": 0.9, "weight_decay": 0.0005}
    budget = {"epochs": EPOCHS, "imgsz": IMGSZ, "batch": 16, "patience": 0, "device": "cpu"}
    passed = {"state": "passed", "detail": {}, "en": "Checked.", "zh": "已检查。"}
    return {
        "format": 1,
        "command": f"mlla compare data={dataset} models=yolov8n,yolov8n-mlla plug=mlla@neck",
        "arms": arms,
        "seeds": list(range(seeds)),
        "data": {
            "yaml": str(dataset),
            "study_yaml": str(out / "data" / "data.yaml"),
            "names": names,
            "splits": splits,
            "scored": "test",
            "made_split": None,
            "leaks": {
                "identical": 0,
                "near_duplicates": 1,
                "test_images_touched": 1,
                "examples": [["steel_0001.png", "steel_0060.png"]],
            },
        },
        "checkpoint": "best",
        "pretrained": None,
        "settings": {**budget, **optimizer, "deterministic": True},
        "threads": 1,
        "versions": VERSIONS,
        "guards": [
            {"name": "seed_changes_result", **passed},
            {"name": "seed_reproduces_result", **passed},
            {
                "name": "near_duplicates_across_splits",
                "state": "warning",
                "detail": {"near_duplicates": 1},
                "en": "1 pair of images across splits is nearly the same.",
                "zh": "有 1 对图像跨划分近似重复。",
            },
        ],
        "margin": 0.005,
        "extensions": [],
        "created": "2026-01-01T00:00:00",
    }


def _write_run(
    folder: Path, one: Mapping[str, Any], seed: int, truth: GroundTruth, skill: float
) -> None:
    """Write what the training of one run leaves, but for weights."""
    drawn_as = BASELINE["name"] if one["kind"] == "identity" else one["name"]
    found = drawn_detections(truth, drawn_as, seed, skill)
    packed = gzip.compress(json.dumps(found).encode(), mtime=0)
    (folder / "predictions.json.gz").write_bytes(packed)
    generator = np.random.default_rng(seed)
    header = (
        "epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),"
        "metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,"
        "val/dfl_loss,lr/pg0,lr/pg1,lr/pg2"
    )
    lines = [header]
    for epoch in range(1, EPOCHS + 1):
        loss = 4 * np.exp(-epoch / 6) + 1 + generator.normal(0, 0.02)
        level = (0.4 + 0.1 * skill) * (1 - np.exp(-epoch / 5)) + generator.normal(0, 0.01)
        numbers = [epoch, 10.0 * epoch, loss, loss, loss, level, level, 1.5 * level, level]
        lines.append(",".join(f"{number:.5g}" for number in [*numbers, loss, loss, loss, 0, 0, 0]))
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    (folder / "args.yaml").write_text(f"imgsz: {IMGSZ}\nepochs: {EPOCHS}\nseed: {seed}\n")
    (folder / "seen.jsonl").write_text(
        "".join(
            json.dumps({"epoch": epoch, "digest": f"{seed:02d}{epoch:02d}", "images": 8}) + "\n"
            for epoch in range(EPOCHS)
        )
    )


def _write_outcome(folder: Path, one: Mapping[str, Any], seed: int) -> None:
    """Write outcome.json, which says that the run is complete."""
    parameters = PARAMETERS.get(one["kind"], PARAMETERS["baseline"])
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    outcome = {
        "format": 1,
        "arm": one["name"],
        "seed": seed,
        "counts": {
            "tensors": 355,
            "shared_with_baseline": 355,
            "baseline_tensors": 355,
            "pretrained_kept": 0,
            "pretrained_tensors": 0,
        },
        "start_sha256": "0" * 64,
        "seen": [f"{seed:02d}{epoch:02d}" for epoch in range(EPOCHS)],
        "epochs": EPOCHS,
        "train_seconds": 120.0 + seed + parameters / 1e6,
        "attempts": 1,
        "peak_memory_bytes": 900_000_000 + parameters,
        "peak_memory_kind": "process",
        "checkpoint": "best",
        "checkpoint_epoch": EPOCHS - 1,
        "parameters": parameters,
        "versions": VERSIONS,
        "device": "cpu",
        "files": {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        },
    }
    _write_json(folder / "outcome.json", outcome)


def _write_weights(folder: Path, one: Mapping[str, Any]) -> None:
    """Save an untrained network of the arm as its best checkpoint."""
    from mlla.yolo import YOLO, plug

    model = YOLO(one["model"])
    if one["block"]:
        model = plug(model, one["block"], at=one["at"], gate=one["gate"])
    (folder / "weights").mkdir()
    # published files say what they were trained for
    model.ckpt = {"train_args": {"task": "detect"}}
    model.save(folder / "weights" / "best.pt")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
