"""The one training loop: it goes on where it stopped, on any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlla.training.batches import ShareOfBatches, training_loader
from mlla.training.launch import Launch
from mlla.training.learner import Learner
from mlla.training.portions import portions_of
from mlla.training.run_folder import Row, RunFolder
from mlla.training.settings import LoopSettings
from mlla.training.task import Task

# updates between two looks at the loss, each of which waits for the device
UPDATES_BETWEEN_CHECKS = 100


def fit(task: Task, settings: LoopSettings, out: str | Path) -> dict[str, float]:
    """Train, score, and keep what is needed to go on after an interruption.

    The same call goes on where an earlier one stopped, and ends with the same weights, to the
    bit, as if it had not been stopped. At most the epoch in flight is lost.

    Args:
        task: What to train on what.
        settings: How long and in which portions.
        out: The folder of the training: args.yaml, results.csv, the models `last` and `best`, and
            state.pt to go on from. Every process must see it.

    Returns:
        The figures of the best epoch, and its number as `epoch`.

    Raises:
        ValueError: If `out` holds another training, or the arguments do not fit each other.
        RuntimeError: If the loss is no longer finite, or another process trains in `out`.
    """
    launch = Launch(settings.precision, settings.device)
    folder = RunFolder(out)
    with folder.held() if launch.is_main else nullcontext():
        return _fit(task, settings, launch, folder)


def _fit(task: Task, settings: LoopSettings, launch: Launch, folder: RunFolder) -> dict[str, float]:
    if settings.forward_batch is None:
        recorded = folder.recorded_arguments().get("forward_batch")
        settings = replace(settings, forward_batch=recorded)
    portions = portions_of(settings, launch.num_processes)
    settings = replace(settings, forward_batch=portions.forward_batch)
    samples = task.training_samples()
    share = ShareOfBatches(
        len(samples.dataset), portions, seed=settings.seed, process=launch.process
    )
    launch.wait()
    if launch.is_main:
        folder.open({**task.arguments(), **asdict(settings)})
    launch.wait()
    learner = Learner(task, settings, launch, portions, share.updates)
    loop = _Loop(task, settings, launch, folder, learner)
    loop.resume()
    loader = training_loader(
        samples.dataset, share, workers=settings.workers, collate=samples.collate
    )
    while loop.epochs_done < settings.epochs:
        share.epoch = loop.epochs_done
        loop.run_epoch(loader, share.updates)
    return loop.best


class _Loop:
    """Epochs of a learner, their scores and what is written of them."""

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        launch: Launch,
        folder: RunFolder,
        learner: Learner,
    ) -> None:
        self.task, self.settings, self.launch = task, settings, launch
        self.folder, self.learner = folder, learner
        self.epochs_done, self.seconds = 0, 0.0
        self.rows: list[Row] = []
        self.best: dict[str, float] = {}

    def resume(self) -> None:
        """Go back to the end of the last whole epoch, if there was one."""
        state = self.folder.load_state()
        if state is None:
            return
        self.learner.restore(state["learner"])
        self.epochs_done, self.seconds = state["epochs"], state["seconds"]
        self.rows, self.best = state["rows"], state["best"]
        self.launch.say(
            f"{self.folder.path}: {self.epochs_done} of {self.settings.epochs} epochs were done"
        )

    def run_epoch(self, loader: Any, updates: int) -> None:
        """Train for an epoch, score it, and write everything down."""
        began = time.monotonic()
        learning_rate = self.learner.learning_rate
        losses = self._train(loader, updates)
        self.epochs_done += 1
        is_last = self.epochs_done == self.settings.epochs
        is_scored = is_last or self.epochs_done % self.settings.evaluate_every == 0
        figures = self._score() if is_scored else {}
        self.seconds += time.monotonic() - began
        row: Row = {"epoch": self.epochs_done, "time": round(self.seconds, 3)}
        row.update({f"train/{name}": value for name, value in losses.items()})
        row.update({f"metrics/{name}": value for name, value in figures.items()})
        row["lr/pg0"] = learning_rate
        self.rows.append(row)
        if self.launch.is_main:
            self.folder.write_results(self.rows)
            self.folder.save_state(self._state())
        self.launch.wait()
        self._say(losses | figures, time.monotonic() - began)

    def _train(self, loader: Any, updates: int) -> dict[str, float]:
        batches = iter(loader)
        sums: dict[str, Tensor] = {}
        for update in range(1, updates + 1):
            for name, term in self.learner.update(batches, self.epochs_done).items():
                sums[name] = sums.get(name, 0) + term
            if update % UPDATES_BETWEEN_CHECKS == 0:
                self._check_finite({name: float(term) for name, term in sums.items()})
        means = self.launch.mean(torch.stack(list(sums.values())) / updates).tolist()
        losses = dict(zip(sums, means, strict=True))
        self._check_finite(losses)
        return losses

    def _score(self) -> dict[str, float]:
        network = self.learner.scored_network.eval()
        is_main = self.launch.is_main
        with self.folder.writing_last() if is_main else nullcontext(self.folder.last) as draft:
            with torch.no_grad(), self.launch.autocast():
                figures = self.task.evaluate(network, self.launch, draft)
            if is_main:
                self.task.save(network, draft)
        name = self.task.best_figure
        if not self.best or figures[name] > self.best[name]:
            self.best = {"epoch": self.epochs_done, **figures}
            if is_main:
                self.folder.make_last_the_best()
        return figures

    def _state(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs_done,
            "seconds": self.seconds,
            "rows": self.rows,
            "best": self.best,
            "learner": self.learner.state(),
        }

    def _check_finite(self, losses: Mapping[str, float]) -> None:
        for name, value in losses.items():
            if not math.isfinite(value):
                raise RuntimeError(
                    f"the loss {name!r} is {value} in epoch {self.epochs_done + 1}; lower the "
                    f"learning rate, or use precision=fp32 or bf16; {self.folder.path} still has "
                    "the state after the last whole epoch"
                )

    def _say(self, values: Mapping[str, float], seconds: float) -> None:
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self.launch.say(
            f"epoch {self.epochs_done}/{self.settings.epochs}: {numbers} ({seconds:.1f} s)"
        )
