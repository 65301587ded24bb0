"""The published schedules of the detectors, and their optimizer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from mlla.training import step_schedule

_WARMUP_UPDATES, _WARMUP_FACTOR = 500, 1e-3


@dataclass(frozen=True)
class Schedule:
    """How long to train and when to lower the learning rate.

    Args:
        epochs: Passes through the training images.
        milestones: Epochs after which the learning rate is a tenth of what it was.
        drop_path_rate: Probability of skipping a branch in the last block of the backbone.
    """

    epochs: int
    milestones: tuple[int, ...]
    drop_path_rate: float

    def lasting(self, epochs: int) -> "Schedule":
        """Return the schedule stretched or shortened to a number of epochs."""
        scaled = tuple(round(epochs * milestone / self.epochs) for milestone in self.milestones)
        return Schedule(epochs, scaled, self.drop_path_rate)


#: Those of mlla_t_mrcnn_1x and mlla_t_mrcnn_3x in LeapLabTHU/MLLA @83a7e43.
SCHEDULES: Mapping[str, Schedule] = {
    "1x": Schedule(12, (8, 11), 0.1),
    "3x": Schedule(36, (27, 33), 0.3),
}


def published_adamw(model: nn.Module, *, lr: float, weight_decay: float) -> Optimizer:
    """Return AdamW that spares the weights and biases of norms, and nothing else.

    Args:
        model: The detector.
        lr: Learning rate.
        weight_decay: Of everything but norms.

    Raises:
        ValueError: If a number makes no sense.
    """
    if not (lr > 0 and weight_decay >= 0):
        raise ValueError(f"lr={lr} must be positive and weight_decay={weight_decay} at least 0")
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm | _BatchNorm)]
    spared = {id(parameter) for norm in norms for parameter in norm.parameters()}
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups[id(parameter) in spared].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups[False], "weight_decay": weight_decay},
            {"params": groups[True], "weight_decay": 0.0},
        ],
        lr=lr,
    )


def published_steps(
    optimizer: Optimizer, schedule: Schedule, updates_per_epoch: int, lr: float
) -> Any:
    """Return the schedule of the learning rate, counted in updates.

    It rises from a thousandth over the first 500 updates; in a training so short that these are
    more than a tenth of it, over that tenth.

    Args:
        optimizer: With the largest learning rate.
        schedule: Epochs and milestones.
        updates_per_epoch: Updates of an epoch.
        lr: The largest learning rate.
    """
    return step_schedule(
        optimizer,
        [milestone * updates_per_epoch for milestone in schedule.milestones],
        warmup_updates=min(_WARMUP_UPDATES, schedule.epochs * updates_per_epoch // 10),
        warmup_lr=lr * _WARMUP_FACTOR,
    )
