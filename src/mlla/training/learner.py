"""The model, its moving average and its optimizer: one update, and the state between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from mlla.training.launch import Launch
from mlla.training.portions import Portions
from mlla.training.random_numbers import Purpose, seed_generators
from mlla.training.running_statistics import RunningStatistics
from mlla.training.settings import LoopSettings
from mlla.training.task import Moment, Task


class Learner:
    """All that changes while a model learns.

    Args:
        task: Builds the model, and says what its loss is.
        settings: Of the loop.
        launch: The processes.
        portions: How the samples of an update are shared.
        updates_per_epoch: Updates of an epoch.

    Raises:
        ValueError: If gradients shall be checkpointed and the model cannot.
    """

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        launch: Launch,
        portions: Portions,
        updates_per_epoch: int,
    ) -> None:
        self.task, self.settings, self.launch, self.portions = task, settings, launch, portions
        self.updates_done = 0
        seed_generators(settings.seed, Purpose.WEIGHTS)
        self.network = task.build_model().to(launch.device)
        if settings.gradient_checkpointing:
            _checkpoint_gradients(self.network)
        self.average = _moving_average(self.network, settings.ema_decay)
        self.optimizer = task.build_optimizer(self.network)
        self.schedule = task.build_schedule(
            self.optimizer, epochs=settings.epochs, updates_per_epoch=updates_per_epoch
        )
        self.schedule.step_update(0)
        self._model = launch.share(self.network)
        self._statistics = RunningStatistics(self.network, launch, portions.passes)

    @property
    def scored_network(self) -> nn.Module:
        """The network to score and to save: the moving average, where there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first group of parameters."""
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, batches: Iterator[Any], epoch: int) -> dict[str, Tensor]:
        """Take one step of the optimizer.

        Args:
            batches: Gives the forward passes of this process.
            epoch: Epochs done.

        Returns:
            The terms of the loss, averaged over the forward passes of this process.
        """
        passes = self.portions.passes
        losses: dict[str, Tensor] = {}
        self._model.train()
        self._statistics.begin_update()
        for number in range(passes):
            batch = self.launch.to_device(next(batches))
            place = self.launch.process * passes + number
            with self.launch.accumulating(self._model, is_last=number == passes - 1):
                for name, term in self._backward(batch, epoch, place).items():
                    losses[name] = losses.get(name, 0) + term / passes
            self._statistics.end_pass()
        self._statistics.end_update()
        self._step()
        self.updates_done += 1
        self.schedule.step_update(self.updates_done)
        if self.average is not None:
            self.average.update(self.network, step=self.updates_done)
        return losses

    def _step(self) -> None:
        scaler, limit = self.launch.scaler, self.settings.clip_grad_norm
        if limit is not None:
            scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad()

    def _backward(self, batch: Any, epoch: int, place: int) -> Mapping[str, Tensor]:
        seed_generators(self.settings.seed, Purpose.FORWARD, self.updates_done, place)
        moment = Moment(
            epoch=epoch,
            epochs=self.settings.epochs,
            update=self.updates_done,
            average=None if self.average is None else self.average.module,
        )
        with self.launch.autocast():
            terms = self.task.loss(self._model, batch, moment)
        total = torch.stack([term.float() for term in terms.values()]).sum()
        self.launch.scaler.scale(total / self.portions.passes).backward()
        return {name: term.detach().float() for name, term in terms.items()}

    def state(self) -> dict[str, Any]:
        """Return what the next update depends on, as `torch.load(weights_only=True)` reads it.

        Learning rates and random numbers are functions of the number of updates.
        """
        return {
            "updates": self.updates_done,
            "model": self.network.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.launch.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a state.

        Args:
            state: What `state` returned.
        """
        self.updates_done = state["updates"]
        self.network.load_state_dict(state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.launch.scaler.load_state_dict(state["scaler"])
        self.schedule.step_update(self.updates_done)


def _moving_average(network: nn.Module, decay: float | None) -> Any:
    if decay is None:
        return None
    # timm's warm-up of the decay, here n / (10 + n) at update n
    return ModelEmaV3(network, decay=decay, use_warmup=True, warmup_gamma=10, warmup_power=1)


def _checkpoint_gradients(network: nn.Module) -> None:
    switch = getattr(network, "set_grad_checkpointing", None)
    if switch is None:
        raise ValueError(
            f"gradient_checkpointing=True: {type(network).__name__} has no "
            "set_grad_checkpointing; leave it out"
        )
    switch(True)
