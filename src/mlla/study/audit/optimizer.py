"""Which optimizer `optimizer=auto` became, read from what a run left behind."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlla.study.audit.existing_run import ExistingRun

# what Ultralytics takes for a long training, and its learning rate
_LONG_LR0 = 0.01
# of either choice, whatever was asked for
_AUTO_MOMENTUM = 0.9


@dataclass(frozen=True)
class Chosen:
    """The optimizer of a run.

    Attributes:
        name: Its name, or "auto" where nothing tells.
        lr0: Its first learning rate, or None where nothing tells.
        momentum: Its momentum, or the first beta of Adam; None where nothing tells.
        evidence: Where this is known from.
    """

    name: str
    lr0: float | None
    momentum: float | None
    evidence: str


def chosen_optimizer(run: ExistingRun) -> Chosen:
    """Find the optimizer that a run was trained with.

    Newer releases put the choice into the checkpoint. Older ones leave the learning rates in
    results.csv: 0.002 * 5 / (4 + classes) belongs to AdamW, 0.01 to the optimizer for more than
    10,000 steps, which is SGD up to 8.3 and MuSGD later.

    Args:
        run: The run.

    Returns:
        The optimizer.
    """
    name, lr0 = str(run.arguments.get("optimizer")), run.arguments.get("lr0")
    if name.lower() != "auto":
        is_choice = str(run.written_arguments.get("optimizer")).lower() == "auto"
        momentum = _AUTO_MOMENTUM if is_choice else _number(run.arguments.get("momentum"))
        source = "the checkpoint" if is_choice else "its arguments"
        return Chosen(name, _number(lr0), momentum, source)
    found = _first_learning_rate(run)
    num_classes = run.checkpoint.config.get("nc") if run.checkpoint is not None else None
    if found is not None and isinstance(num_classes, int):
        short_lr0 = round(0.002 * 5 / (4 + num_classes), 6)
        if math.isclose(found, short_lr0, rel_tol=0.02):
            return Chosen("AdamW", short_lr0, _AUTO_MOMENTUM, "the learning rates in results.csv")
        if math.isclose(found, _LONG_LR0, rel_tol=0.02):
            is_old = (run.version or "").startswith("8.3.")
            long = "SGD" if is_old else "SGD or MuSGD"
            return Chosen(long, _LONG_LR0, _AUTO_MOMENTUM, "the learning rates in results.csv")
    nothing = "nothing: neither the checkpoint nor results.csv tells"
    return Chosen("auto", None, _AUTO_MOMENTUM, nothing)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _first_learning_rate(run: ExistingRun) -> float | None:
    """Undo the schedule at the last two epochs; None while they are within the warm-up."""
    rates = [run.epochs.column(f"lr/pg{group}") for group in range(3)]
    planned, final = run.planned_epochs, run.arguments.get("lrf", 0.01)
    if not planned or len(run.epochs.numbers) < 2 or not all(rates):
        return None
    undone = []
    for row in (-2, -1):
        progress = (run.epochs.numbers[row] - 1) / planned
        if run.arguments.get("cos_lr"):
            progress = (1 - math.cos(progress * math.pi)) / 2
        share = 1 - progress * (1 - float(final))
        # some optimizers give the head a higher rate
        undone.append(min(rate[row] for rate in rates) / share)
    return undone[1] if math.isclose(*undone, rel_tol=0.01) else None
