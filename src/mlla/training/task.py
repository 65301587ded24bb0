"""What the one loop asks of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from mlla.training.batches import Collate
from mlla.training.launch import Launch


class Samples(NamedTuple):
    """Training samples by index; what is drawn at random for one is seeded by the loop.

    Args:
        dataset: With `len()` and `[index]`.
        collate: Makes a batch of a list of samples; None for that of PyTorch.
    """

    dataset: Any
    collate: Collate | None = None


@dataclass(frozen=True)
class Moment:
    """Where in the training a loss is asked for.

    Args:
        epoch: Epochs done.
        epochs: Epochs of the training.
        update: Updates done.
        average: The moving average of the model, ready to be called, or None.
    """

    epoch: int
    epochs: int
    update: int
    average: nn.Module | None


class Task(Protocol):
    """Classification, detection or segmentation, as the loop sees it."""

    #: Name of the figure that says which epoch is best; more is better.
    best_figure: str

    def arguments(self) -> dict[str, Any]:
        """Return everything that decides the outcome, as plain values, for args.yaml."""

    def build_model(self) -> nn.Module:
        """Return the model with its initial weights; generators are seeded."""

    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of the parameters."""

    def build_schedule(self, optimizer: Optimizer, *, epochs: int, updates_per_epoch: int) -> Any:
        """Return a learning rate schedule, such as one of `mlla.training.schedules`."""

    def training_samples(self) -> Samples:
        """Return the samples to train on."""

    def loss(self, model: nn.Module, batch: Any, moment: Moment) -> Mapping[str, Tensor]:
        """Return the terms of the loss of a forward pass, by name; their sum is minimised.

        Args:
            model: The model in training mode; call it, for its wrapper averages gradients.
            batch: What `collate` made, on the device.
            moment: Where in the training.
        """

    def evaluate(self, model: nn.Module, launch: Launch, folder: Path) -> dict[str, float]:
        """Score a model; all processes call this, and all return the same.

        Args:
            model: In evaluation mode, on the device.
            launch: The processes; see `evaluation_batches`.
            folder: Where the main process may write details; it becomes `last` of the training.

        Returns:
            Figures by name, `best_figure` among them.
        """

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write the model so that others can load it; only the main process calls this."""
