# SPDX-License-Identifier: AGPL-3.0-only
"""The whole state of a training after an epoch, in full precision.

The checkpoints of Ultralytics are for using a model: their weights are moving averages in half
precision, as is the state of the optimizer, and gradients that wait for the next step are lost.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from ultralytics.utils import RANK


def bare_network(model: Any) -> Any:
    """Return the network inside the wrappers of several processes and of compilation."""
    for wrapped in ("module", "_orig_mod"):
        model = getattr(model, wrapped, model)
    return model


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and values of tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds the old content or the new one."""
    draft = path.with_name(f".{path.name}.writing")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def training_state(trainer: Any) -> dict[str, Any]:
    """Collect what the next epoch depends on.

    Args:
        trainer: A trainer of Ultralytics at the end of an epoch.

    Returns:
        Tensors, numbers and texts, which `torch.load(..., weights_only=True)` reads.
    """
    network = bare_network(trainer.model)
    stopper = trainer.stopper
    state = {
        "epochs": trainer.epoch + 1,
        "model": network.state_dict(),
        "config": network.yaml,
        "criterion_updates": getattr(getattr(network, "criterion", None), "updates", None),
        "average": trainer.ema.ema.state_dict(),
        "average_updates": trainer.ema.updates,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "best_fitness": trainer.best_fitness,
        "fitness": trainer.fitness,
        "metrics": trainer.metrics,
        "stopper": {"best_fitness": stopper.best_fitness, "best_epoch": stopper.best_epoch},
        "results": trainer.csv.read_text(encoding="utf-8"),
    }
    return _plain(state)


def restore_training_state(trainer: Any, state: Mapping[str, Any]) -> None:
    """Put a trainer that has not begun where another one ended an epoch.

    Args:
        trainer: A trainer of Ultralytics, set up for the same training.
        state: What `training_state` returned.
    """
    network = bare_network(trainer.model)
    network.load_state_dict(state["model"])
    network.yaml.update(state["config"])
    if (updates := state["criterion_updates"]) is not None:
        # the one-to-many share of the loss fades from epoch to epoch
        network.criterion = network.init_criterion()
        network.criterion.updates = updates - 1
        network.criterion.update()
    # before 8.4 only the first of several processes has it
    if trainer.ema:
        trainer.ema.ema.load_state_dict(state["average"])
        trainer.ema.updates = state["average_updates"]
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.best_fitness, trainer.fitness = state["best_fitness"], state["fitness"]
    trainer.metrics = dict(state["metrics"])
    trainer.stopper.__dict__.update(state["stopper"])
    if RANK in (-1, 0):
        write_whole(trainer.csv, state["results"].encode())
    trainer.start_epoch = state["epochs"]


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state; a crash leaves the old file or the new one."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """Read a state.

    Raises:
        ValueError: If the file is none.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises a dozen different ones for a file that is not its own
        raise ValueError(
            f"{path} is not the state of a training: {type(error).__name__}: {error}; remove it to "
            "train from the start"
        ) from error


def _plain(value: Any) -> Any:
    """Turn the numbers of numpy into those of Python, which are the same and safe to load."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
