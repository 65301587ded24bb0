"""Finished runs of six-designs studies whose scores are made up: no network is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mlla.study.files import write_json
from mlla.study.six_designs.image_folders import IMAGES, read_images
from mlla.study.six_designs.plan import PLAN, make_request, started
from mlla.study.six_designs.row_runs import run_folder
from mlla.study.six_designs.settings import complete_settings

CLASSES = ("cat", "dog")
VERSIONS = {"mlla": "0", "timm": "1", "torch": "2", "numpy": "2", "python": "3"}


def write_images(folder: Path, per_class: int, *, side_px: int = 12, seed: int = 0) -> Path:
    """Write noise of two levels of grey, a folder for each, and return the folder."""
    generator = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            pixels = generator.integers(100 * label, 100 * label + 120, (side_px, side_px, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def request(rows: Sequence[str], num_seeds: int, **changes: Any) -> dict[str, Any]:
    settings, recipe = complete_settings(
        "mini", {"epochs": 2, "batch": 4}, device="cpu", loader_workers=0
    )
    made = make_request(
        command="mlla study six-designs data=cells",
        size="mini",
        image_size=16,
        rows=rows,
        num_seeds=num_seeds,
        near_duplicates=False,
        settings=settings,
        recipe=recipe,
        margin=0.005,
        threads=1,
    )
    return {**made, "versions": VERSIONS, **changes}


def write_study(
    root: Path, accuracies: Mapping[str, Sequence[float]], *, num_images: int = 200
) -> tuple[dict[str, Any], Path]:
    """Write the runs of a study and return its plan and folder.

    Args:
        root: Where to.
        accuracies: By row the top-1 accuracy of each of its runs.
        num_images: Images that are scored.
    """
    source = write_images(root / "cells", 10)
    out = root / "study"
    out.mkdir()
    num_seeds = max(map(len, accuracies.values()))
    images = read_images(source, near_duplicates=False, quiet=True)
    images.write(out / IMAGES)
    plan = started(request(list(accuracies), num_seeds), images, out)
    write_json(out / PLAN, plan)
    for number, (row, of_seeds) in enumerate(accuracies.items()):
        for seed, accuracy in enumerate(of_seeds):
            _write_run(out, row, seed, accuracy, num_images, 100 * number + seed)
    return plan, out


def _write_run(
    out: Path, row: str, seed: int, accuracy: float, num_images: int, entropy: int
) -> None:
    folder = run_folder(out, row, seed)
    folder.mkdir(parents=True)
    targets = np.arange(num_images) % 2
    hits = np.zeros(num_images, dtype=bool)
    chosen = np.random.default_rng(entropy).permutation(num_images)
    hits[chosen[: round(accuracy * num_images)]] = True
    logits = np.where((np.arange(2) == targets[:, None]) == hits[:, None], 1.0, 0.0)
    names = np.array([f"test/{index}.png" for index in range(num_images)])
    np.savez_compressed(
        folder / "predictions.npz", images=names, targets=targets, logits=logits.astype("float32")
    )
    gates = [0.2, 0.5, 0.8] if row == "forget_gate" else None
    lengths = [1.0 + seed, 2.0, 3.0]
    measures = {"token_length_deviations": lengths, "forget_gate_averages": gates, "images": 40}
    write_json(folder / "measures.json", measures)
    outcome = {
        "arm": row,
        "seed": seed,
        "counts": {},
        "start_sha256": "0",
        "seen": [f"{seed}"],
        "epochs": 2,
        "train_seconds": 1.5,
        "attempts": 1,
        "peak_memory_bytes": None,
        "peak_memory_kind": None,
        "checkpoint": "best",
        "checkpoint_epoch": 2,
        "parameters": 3,
        "versions": VERSIONS,
        "device": "a processor",
        "files": {},
    }
    write_json(folder / "outcome.json", outcome)
