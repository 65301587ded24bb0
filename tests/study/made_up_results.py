"""The content of a results.json, made up, with any number of arms and seeds and with gaps.

The numbers hang together (differences are differences of means), but nothing was computed by the
code of the package.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
ERRORS = ("Bkg", "Both", "Cls", "Dupe", "FN", "FP", "Loc", "Miss")
EPOCHS, IMGSZ, NUM_IMAGES = 30, 320, 120
GAINS = (0.0, 0.013, 0.009, 0.0, -0.021, 0.004, 0.03, -0.004, 0.011, 0.002)


def arm(name: str, kind: str, control_of: str | None = None) -> dict[str, Any]:
    """Return how an arm is built."""
    block = name.partition("+")[2].partition("@")
    plugged = {"block": block[0], "at": block[2], "gate": "zero"} if block[0] else {}
    plain = {"block": None, "at": None, "gate": None}
    start = {"name": name, "kind": kind, "control_of": control_of, "model": "yolov8n.yaml"}
    return {**start, **plain, **plugged}


TWO_ARMS = (arm("yolov8n", "baseline"), arm("yolov8n-mlla", "variant"))
FOUR_ARMS = (
    arm("yolov8n", "baseline"),
    arm("yolov8n+mlla@neck", "variant"),
    arm("yolov8n+conv_like_mlla@neck", "convolution", "yolov8n+mlla@neck"),
    arm("yolov8n+identity@neck", "identity", "yolov8n+mlla@neck"),
)
_PASTED = "yolov8n+TutorialMultiScaleLinearAttention@4-6-9-12"
TEN_ARMS = (
    arm("yolov8n", "baseline"),
    arm("yolov8n+mlla@neck", "variant"),
    arm("yolov8n+mlla@p5", "variant"),
    arm(_PASTED, "variant"),
    arm("yolov8n-mlla", "variant"),
    arm("old runs of a colleague", "added"),
    arm("yolov8n+conv_like_mlla@neck", "convolution", "yolov8n+mlla@neck"),
    arm("yolov8n+conv_like_mlla@p5", "convolution", "yolov8n+mlla@p5"),
    arm(_PASTED.replace("+", "+conv_like_"), "convolution", _PASTED),
    arm("yolov8n+identity@neck", "identity", "yolov8n+mlla@neck"),
)


def made_up_results(
    arms: tuple[dict[str, Any], ...] = FOUR_ARMS,
    *,
    seeds: int = 5,
    runtimes: tuple[str, ...] = ("torch", "onnxruntime"),
    failed: tuple[tuple[str, int], ...] = (),
    images: Path | None = None,
) -> dict[str, Any]:
    """Make up the results of a study.

    Args:
        arms: How its arms are built.
        seeds: Runs of each.
        runtimes: Where the time per image was measured.
        failed: Names and seeds of runs that failed.
        images: Folder to write the images of disagreements into; without it they do not exist.
    """
    generator = np.random.default_rng(0)
    full = [
        _arm(one, gain, seeds, runtimes, failed, generator)
        for one, gain in zip(arms, GAINS, strict=False)
    ]
    splits = {"train": 700, "val": 90, "test": NUM_IMAGES}
    return {
        "format": 1,
        "title": "made up",
        "created": "2026-01-01T00:00:00",
        "data": {
            "yaml": "/data/NEU-DET/data.yaml",
            "study_yaml": "/studies/neu/data/data.yaml",
            "names": list(CLASSES),
            "splits": {
                split: {"images": size, "sha256": f"{size:064x}"} for split, size in splits.items()
            },
            "scored": "test",
            "made_split": {"from": "train", "share": 0.2, "groups": "near-duplicates"},
            "leaks": {
                "identical": 0,
                "near_duplicates": 3,
                "test_images_touched": 2,
                "examples": [["image_1.jpg", "image_7.jpg"]],
            },
        },
        "ground_truth_sha256": "ab" * 32,
        "scored": "test",
        "checkpoint": "best",
        "settings": {
            "epochs": EPOCHS,
            "imgsz": IMGSZ,
            "batch": 16,
            "optimizer": "AdamW",
            "lr0": 0.001,
            "cls_loss": None,
            "deterministic": True,
        },
        "seeds": list(range(seeds)),
        "baseline": arms[0]["name"],
        "margin": 0.005,
        "arms": full,
        "comparisons": _comparisons(full),
        "guards": _guards(),
        "command": "mlla compare data=NEU-DET/data.yaml models=yolov8n plug=mlla@neck seeds=5",
        "versions": {"mlla": "0.1.0", "ultralytics": "8.4.190", "torch": "2.15.0"},
        "disagreements": _disagreements(full, images),
    }


def _arm(
    one: dict[str, Any],
    gain: float,
    seeds: int,
    runtimes: tuple[str, ...],
    failed: tuple[tuple[str, int], ...],
    generator: np.random.Generator,
) -> dict[str, Any]:
    name = one["name"]
    finished = [seed for seed in range(seeds) if (name, seed) not in failed]
    runs = [_run(name, seed, 0.41 + gain, generator) for seed in finished]
    slower = 1.0 if one["kind"] == "identity" else 1 + 0.4 * abs(gain) / 0.013
    scores = {key: [run["summary"][key] for run in runs] for key in ("AP", "AP50", "AP75")}
    unknown = dict.fromkeys(("APs", "APm", "APl"))
    epochs = np.arange(1, EPOCHS + 1)
    return {
        **one,
        "counts": {
            "tensors": 371,
            "shared_with_baseline": 355,
            "baseline_tensors": 355,
            "pretrained_kept": 349,
            "pretrained_tensors": 355,
        }
        if runs
        else None,
        "runs": runs,
        "failures": [
            {"seed": seed, "error": "RuntimeError: CUDA out of memory"}
            for failed_name, seed in failed
            if failed_name == name
        ],
        "unfinished": [],
        "mean": {**{key: fmean(of) for key, of in scores.items()}, **unknown} if runs else {},
        "std": {
            **{key: stdev(of) if len(of) > 1 else None for key, of in scores.items()},
            **unknown,
        }
        if runs
        else {},
        "cost": {
            "parameters": int(3_012_018 * slower),
            "gflops": 2.05 * slower,
            "gflops_torch": 2.03 * slower,
            "gflops_disagree": False,
            "error": None,
            "train_seconds": 3723.0 * slower,
            "peak_memory_bytes": int(2.1e9 * slower),
            "peak_memory_kind": "process",
            "latency": {
                runtime: {
                    "median_ms": 31.0 * slower / (place + 1),
                    "low_ms": 30.2 * slower / (place + 1),
                    "high_ms": 33.5 * slower / (place + 1),
                    "ratio": {"median": slower, "low": 0.98 * slower, "high": 1.04 * slower},
                    "rounds": 200,
                    "device_name": "Xeon",
                    "threads": 2,
                    "versions": {runtime: "2.0"},
                    "error": None,
                }
                for place, runtime in enumerate(runtimes)
            },
        },
        "curves": {
            "epoch": epochs.tolist(),
            "AP": [_curve(run["summary"]["AP"], epochs, generator) for run in runs],
            "AP50": [_curve(run["summary"]["AP50"], epochs, generator) for run in runs],
            "train_loss": [
                (1.5 + 3 * np.exp(-epochs / 9) + generator.normal(0, 0.03, EPOCHS)).tolist()
                for _ in runs
            ],
        },
    }


def _run(name: str, seed: int, skill: float, generator: np.random.Generator) -> dict[str, Any]:
    ap = float(skill + generator.normal(0, 0.005))
    return {
        "seed": seed,
        "folder": f"runs/{name}/seed-{seed}",
        "summary": {
            "AP": ap,
            "AP50": 1.7 * ap,
            "AP75": 0.9 * ap,
            "APs": None,
            "APm": None,
            "APl": None,
        },
        "per_class": {
            label: float(ap + 0.05 * place - 0.12 + generator.normal(0, 0.01))
            for place, label in enumerate(CLASSES)
        },
        "error_types": {key: float(generator.uniform(0, 0.08)) for key in ERRORS},
        "calibration_error": 0.11 + 0.001 * seed,
        "train_seconds": 3700.0 + 10 * seed,
        "peak_memory_bytes": 2_100_000_000,
    }


def _curve(last: float, epochs: np.ndarray, generator: np.random.Generator) -> list[float]:
    return (last * (1 - np.exp(-epochs / 8)) + generator.normal(0, 0.006, len(epochs))).tolist()


def _comparisons(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    baseline = arms[0]
    by_name = {one["name"]: one for one in arms}
    found = [_comparison(one, baseline, "baseline") for one in arms[1:]]
    found += [
        _comparison(by_name[one["control_of"]], one, "control")
        for one in arms
        if one["kind"] == "convolution"
    ]
    return [one for one in found if one is not None]


def _comparison(
    second: dict[str, Any], first: dict[str, Any], family: str
) -> dict[str, Any] | None:
    scores = [{run["seed"]: run["summary"]["AP"] for run in one["runs"]} for one in (first, second)]
    seeds = sorted(set(scores[0]) & set(scores[1]))
    if not seeds:
        return None
    means = [fmean(of[seed] for seed in seeds) for of in scores]
    estimate = means[1] - means[0]
    half = None if len(seeds) == 1 else 0.06 / len(seeds)
    low, high = (None, None) if half is None else (estimate - half, estimate + half)
    verdict = "too little data"
    if low is not None and len(seeds) >= 4:
        verdict = (
            "supported"
            if low > 0
            else "harmful"
            if high < 0
            else "not supported"
            if high < 0.005
            else verdict
        )
    points = f"{100 * estimate:+.1f}"
    is_claim = second["kind"] in ("variant", "added") and family == "baseline"
    name, other = second["name"], first["name"]
    return {
        "arm": name,
        "against": other,
        "family": family,
        "is_claim": is_claim,
        "seeds": seeds,
        "means": {"against": means[0], "arm": means[1]},
        "identical": False,
        "difference": {
            "estimate": estimate,
            "low": low,
            "high": high,
            "standard_error": None if half is None else half / 2,
            "degrees_of_freedom": None if half is None else 7.3,
            "image_variance": None,
            "seed_variance": None,
        },
        "p_value": 1.0 if half is None else 0.02,
        "adjusted_p_value": 1.0 if half is None else 0.04,
        "smallest_effect": None if half is None else 1.4 * half,
        "verdict": verdict,
        "needed": {"runs": 9, "images": None},
        "equivalence": {
            "margin": 0.005,
            "not_worse": estimate > -0.005,
            "faster_than": 0.2,
            "runtime": None,
            "faster": None,
            "holds": None,
        }
        if is_claim
        else None,
        "sentence": {
            "en": f"{name} beside {other}: {verdict} ({points} points, {len(seeds)} seeds).",
            "zh": f"{name} 与 {other} 相比：数据如此（{points} 个百分点）。",  # noqa: RUF001
        },
    }


def _guards() -> list[dict[str, Any]]:
    states = {
        "seed_changes_result": (
            "passed",
            "Two seeds, two results.",
            "换种子后权重不同。",
        ),
        "seed_reproduces_result": ("failed", "One seed gave two results.", "同一种子结果不同。"),
        "same_data_order": ("not checked", "Not checked yet.", "尚未检查。"),
        "near_duplicates_across_splits": ("warning", "3 pairs of images.", "有 3 对近似图像。"),
        "enough_seeds": ("passed", "Enough seeds.", "种子数量足够。"),
    }
    return [
        {"name": name, "state": state, "detail": {}, "en": en, "zh": zh}
        for name, (state, en, zh) in states.items()
    ]


def _disagreements(arms: list[dict[str, Any]], images: Path | None) -> list[dict[str, Any]]:
    found = []
    claims = [one["name"] for one in arms if one["kind"] in ("variant", "added") and one["runs"]]
    for name in claims:
        for index in range(4):
            path = Path("/nowhere") if images is None else images
            file = path / f"image_{index}.jpg"
            if images is not None and not file.exists():
                _draw_image(file, index)
            found.append({"arm": name, "image": str(file), **_disagreement(index)})
    return found


def _disagreement(index: int) -> dict[str, Any]:
    labels = [
        {"name": CLASSES[place % 6], "bbox": [40.0 + 130 * place, 60.0 + 20 * index, 100.0, 90.0]}
        for place in range(4)
    ]
    sure = [{**label, "score": 0.9 - 0.1 * place} for place, label in enumerate(labels)]
    false = {"name": "scratches", "bbox": [20.0, 300.0, 140.0, 60.0], "score": 0.31}
    return {
        "index": index,
        "gain": (2.0, 1.0, -1.4, -0.8)[index],
        "objects": 4,
        "seed": 0,
        "boxes": {"truth": labels, "baseline": [*sure[:2], false], "arm": sure},
    }


def _draw_image(file: Path, index: int) -> None:
    """Write a photo-like image of 640 by 480 pixels."""
    generator = np.random.default_rng(index)
    coarse = Image.fromarray(generator.integers(60, 200, (12, 16, 3), dtype=np.uint8))
    coarse.resize((640, 480), Image.Resampling.BICUBIC).save(file, quality=90)
