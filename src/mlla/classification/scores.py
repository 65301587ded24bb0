"""Scores of a classifier, and the file with what it said to every image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from mlla.classification.image_split import TransformedImages
from mlla.training import Launch, evaluation_batches

PREDICTIONS_NAME = "predictions.npz"


def score(
    network: nn.Module,
    images: TransformedImages,
    launch: Launch,
    folder: Path | None,
    *,
    batch: int,
    workers: int,
) -> dict[str, float]:
    """Show all images to a classifier; all processes call this.

    Args:
        network: In evaluation mode, on the device.
        images: With labels as the network counts them.
        launch: The processes.
        folder: Where the main process writes predictions.npz: `images` (names), `targets`,
            `logits` (float32) and `class_names`; None for nowhere.
        batch: Images at once.
        workers: Processes that read images.

    Returns:
        top1 and top5 in percent (of fewer classes than five, all), and the mean cross-entropy
        `val_loss`.
    """
    mine: list[tuple[int, int, np.ndarray]] = []
    with torch.no_grad(), launch.autocast():
        for indices, (pixels, targets) in evaluation_batches(
            images, launch, batch=batch, workers=workers
        ):
            logits = network(pixels).float().cpu().numpy()
            mine += zip(indices, targets.tolist(), logits, strict=True)
    rows = sorted(launch.gather(mine), key=lambda row: row[0])
    targets = torch.tensor([target for _, target, _ in rows])
    logits = torch.from_numpy(np.stack([row for _, _, row in rows]))
    if folder is not None and launch.is_main:
        np.savez_compressed(
            folder / PREDICTIONS_NAME,
            images=np.array(images.split.names),
            targets=targets.numpy(),
            logits=logits.numpy(),
            class_names=np.array(images.split.class_names),
        )
    # ties go to the class that comes first, on every machine
    ranks = logits.argsort(dim=1, descending=True, stable=True)
    hits = ranks == targets[:, None]
    return {
        "top1": 100 * hits[:, 0].double().mean().item(),
        "top5": 100 * hits[:, :5].any(dim=1).double().mean().item(),
        "val_loss": functional.cross_entropy(logits, targets).item(),
    }
