"""Optimizer and learning rates of the published recipes, from timm.

A schedule is a function of the number of updates: `schedule.step_update(update)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler, PolyLRScheduler
from torch import nn
from torch.optim import Optimizer


def adamw(model: nn.Module, *, lr: float, weight_decay: float) -> Optimizer:
    """Return AdamW that spares biases, norms and what the model exempts from weight decay.

    Args:
        model: Parameters that need no gradient are left out.
        lr: Learning rate.
        weight_decay: Of the matrices.

    Raises:
        ValueError: If a number makes no sense.
    """
    if not (lr > 0 and weight_decay >= 0):
        raise ValueError(f"lr={lr} must be positive and weight_decay={weight_decay} at least 0")
    return create_optimizer_v2(model, opt="adamw", lr=lr, weight_decay=weight_decay)


def cosine_schedule(
    optimizer: Optimizer,
    updates: int,
    *,
    warmup_updates: int = 0,
    warmup_lr: float = 0.0,
    min_lr: float = 0.0,
) -> Any:
    """Fall along half a cosine, after a linear rise.

    Args:
        optimizer: With the largest learning rate.
        updates: Updates of the training, those of the rise among them.
        warmup_updates: Updates of the rise.
        warmup_lr: Where the rise begins.
        min_lr: Where the fall ends.
    """
    return CosineLRScheduler(
        optimizer, t_initial=updates, lr_min=min_lr, **_warmup(warmup_updates, warmup_lr)
    )


def step_schedule(
    optimizer: Optimizer,
    milestones: Sequence[int],
    *,
    factor: float = 0.1,
    warmup_updates: int = 0,
    warmup_lr: float = 0.0,
) -> Any:
    """Multiply by a factor at each milestone, after a linear rise.

    Args:
        optimizer: With the largest learning rate.
        milestones: Updates after which to multiply.
        factor: By what.
        warmup_updates: Updates of the rise.
        warmup_lr: Where the rise begins.
    """
    # timm lowers the rate one update before a milestone
    return MultiStepLRScheduler(
        optimizer,
        decay_t=[milestone + 1 for milestone in milestones],
        decay_rate=factor,
        **_warmup(warmup_updates, warmup_lr),
    )


def poly_schedule(
    optimizer: Optimizer,
    updates: int,
    *,
    power: float = 1.0,
    warmup_updates: int = 0,
    warmup_lr: float = 0.0,
    min_lr: float = 0.0,
) -> Any:
    """Fall as (1 - update / updates)^power, after a linear rise.

    Args:
        optimizer: With the largest learning rate.
        updates: Updates of the training, those of the rise among them.
        power: 1 for a straight line.
        warmup_updates: Updates of the rise.
        warmup_lr: Where the rise begins.
        min_lr: Where the fall ends.
    """
    return PolyLRScheduler(
        optimizer,
        t_initial=updates,
        power=power,
        lr_min=min_lr,
        **_warmup(warmup_updates, warmup_lr),
    )


def _warmup(updates: int, lr: float) -> dict[str, Any]:
    return {
        "warmup_t": updates,
        "warmup_lr_init": lr,
        "warmup_prefix": False,
        "t_in_epochs": False,
    }
