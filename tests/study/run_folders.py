"""Run folders as Ultralytics leaves them, made up: no network is trained."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

REAL = Path(__file__).parent / "data" / "runs"
ARGUMENTS = {
    "task": "detect",
    "mode": "train",
    "model": "yolov8n.yaml",
    "data": "data.yaml",
    "epochs": 3,
    "patience": 100,
    "batch": 8,
    "imgsz": 64,
    "device": "cpu",
    "workers": 0,
    "pretrained": False,
    "optimizer": "AdamW",
    "lr0": 0.001,
    "lrf": 0.01,
    "cos_lr": False,
    "seed": 0,
    "deterministic": True,
    "amp": True,
    "mosaic": 1.0,
    "fraction": 1.0,
    "resume": False,
}
HEADER = (
    "epoch,time,train/box_loss,metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,"
    "lr/pg0,lr/pg1,lr/pg2"
)
CONFIG = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [8, 3, 2]], [-1, 1, "Conv", [16, 3, 2]]],
    "head": [[-1, 1, "Detect", ["nc"]]],
    "yaml_file": "yolov8n.yaml",
}


def network(widths: Sequence[int] = (8, 16), *, seed: int = 0, **config: Any) -> nn.Module:
    """Return layers under `model.`, with a configuration, as a detector has them."""
    torch.manual_seed(seed)
    sizes = [3, *widths]
    layers = [nn.Conv2d(a, b, 3) for a, b in pairwise(sizes)]
    made: Any = nn.Module()
    made.model = nn.Sequential(*layers, nn.BatchNorm2d(widths[-1]))
    made.yaml = {**CONFIG, **config}
    return made.half()


def write_checkpoint(
    file: Path,
    arguments: dict[str, Any],
    made: nn.Module,
    *,
    version: str = "8.4.190",
    finished: bool = True,
    scores: dict[str, float] | None = None,
    commit: str | None = None,
) -> Path:
    """Save a network with what Ultralytics writes beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "epoch": -1 if finished else 1,
            "model": made if finished else None,
            "ema": None if finished else made,
            "optimizer": None if finished else {"state": {}, "param_groups": []},
            "train_args": dict(arguments),
            "train_metrics": scores or {},
            "date": "2026-01-01T00:00:00",
            "version": version,
            "git": {"commit": commit},
        },
        file,
    )
    return file


def write_run(
    folder: Path,
    scores: Sequence[float] = (0.1, 0.2, 0.3),
    *,
    made: nn.Module | None = None,
    version: str | None = "8.4.190",
    finished: bool = True,
    ran_with: dict[str, Any] | None = None,
    commit: str | None = None,
    **changes: Any,
) -> Path:
    """Write a run folder.

    Args:
        folder: Where to.
        scores: mAP50-95 of each epoch.
        made: Its network; by default one and the same.
        version: Of Ultralytics; None for a folder without weights.
        finished: Whether the training came to its end.
        ran_with: Arguments in the checkpoint that differ from args.yaml.
        commit: The commit that the checkpoint names.
        **changes: Arguments in args.yaml; `epochs` is the number of scores unless given.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    arguments = {**ARGUMENTS, "epochs": len(scores), **changes}
    (folder / "args.yaml").write_text(yaml.safe_dump(arguments))
    lines = [HEADER]
    for epoch, score in enumerate(scores, 1):
        share = 1 - (epoch - 1) / arguments["epochs"] * (1 - arguments["lrf"])
        rate = arguments["lr0"] * share
        lines.append(
            f"{epoch},{epoch * 1.5},{3 - score},{score * 1.5:.6g},{score},{2 - score},"
            f"{rate:.6g},{rate:.6g},{rate:.6g}"
        )
    (folder / "results.csv").write_text("\n".join(lines) + "\n")
    if version is not None:
        best = max(scores)
        known = {"metrics/mAP50(B)": round(best * 1.5, 6), "metrics/mAP50-95(B)": best}
        for name in ("best.pt", "last.pt"):
            write_checkpoint(
                folder / "weights" / name,
                {**arguments, **(ran_with or {})},
                made or network(),
                version=version,
                finished=finished,
                scores=known,
                commit=commit,
            )
    return folder


def write_arms(root: Path, scores: dict[str, Sequence[float]], **changes: Any) -> Path:
    """Write one run of three epochs for each last score of each model, with seeds 0, 1, 2, ...

    Args:
        root: Where to.
        scores: Model to the scores of the last epochs of its runs.
        **changes: Arguments of all runs.

    Returns:
        `root`.
    """
    for number, (model, lasts) in enumerate(scores.items()):
        made = network((8, 16 + number))
        for seed, last in enumerate(lasts):
            write_run(
                root / f"{model}-{seed}",
                (last / 3, last / 2, last),
                made=made,
                **{"model": f"{model}.yaml", "seed": seed, **changes},
            )
    return root


def copy_real(name: str, folder: Path) -> Path:
    """Copy a stored real run, which has no weights."""
    return Path(shutil.copytree(REAL / name, folder))
