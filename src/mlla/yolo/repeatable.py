# SPDX-License-Identifier: AGPL-3.0-only
"""Training that can be compared: what is shown depends on seed and epoch, whatever the network.

And that can be stopped: a training that was killed and started again ends with the weights of one
that was not.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from ultralytics.utils import LOGGER, RANK, torch_utils

from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.machine import peak_memory, processor_name
from mlla.yolo.repeatable_data import (
    NETWORK,
    RESIZING,
    EpochLoader,
    mixed_seed,
    random_numbers_from,
)
from mlla.yolo.trainers import DetectionTrainer, RTDETRTrainer
from mlla.yolo.training_state import (
    bare_network,
    load_state,
    restore_training_state,
    save_state,
    training_state,
    weights_digest,
    write_whole,
)

# in the run folder
STATE, SEEN, TRAINED = "weights/state.pt", "seen.jsonl", "trained.json"


class Repeatable:
    """Mixed into a trainer of a detector, before it.

    It begins with exactly the weights in the file that `model` names, or where the state in the
    run folder says. Every epoch adds a line to seen.jsonl; at the end it writes trained.json.

    Args:
        cfg: As in Ultralytics.
        overrides: As in Ultralytics.
        _callbacks: As in Ultralytics.
    """

    accumulate: float
    args: Any
    best: Path
    csv: Path
    device: torch.device
    epoch: int
    epochs: int
    last: Path
    model: Any
    save_dir: Path
    train_loader: EpochLoader
    wdir: Path

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[dict[str, Any]] = []
        self.best_epoch: int | None = None
        # batches and the last step are counted over all epochs
        self._batch = self._last_step = -1
        self._resumed = False
        self._gradients: dict[str, Tensor] = {}
        super().__init__(*args, **kwargs)

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> Any:
        """Return the loader of Ultralytics; for training, one that begins every epoch anew."""
        build = super().get_dataloader  # type: ignore[misc]
        if mode != "train":
            return build(dataset_path, batch_size=batch_size, rank=rank, mode=mode)
        workers, self.args.workers = self.args.workers, 0
        try:
            stock = build(dataset_path, batch_size=batch_size, rank=rank, mode=mode)
        finally:
            self.args.workers = workers
        return EpochLoader(stock, seed=self.args.seed, num_workers=workers, rank=rank)

    def build_dataset(self, *args: Any, **kwargs: Any) -> Any:
        """Build a dataset while no other training does.

        Ultralytics keeps what it read of the labels in a file beside them, which a training that
        starts at the same moment would find half written.
        """
        data = Path(self.args.data)
        lock = FileLock(data.with_name(f".{data.name}.lock"))
        # where nothing can be written, Ultralytics writes nothing
        with lock if os.access(data.parent, os.W_OK) else nullcontext():
            return super().build_dataset(*args, **kwargs)  # type: ignore[misc]

    def resume_training(self, ckpt: Any) -> None:
        """Begin where the state in the run folder says, or with the weights of `model`."""
        del ckpt  # resuming from it would be less exact
        start = CheckedModel(self.args.model).model.float().state_dict()
        digest = weights_digest(start)
        path = self.save_dir / STATE
        if not path.exists():
            self._refuse_other_weights(start)
            if RANK in (-1, 0):
                self.csv.unlink(missing_ok=True)
            self._start_sha256, self._seconds = digest, 0.0
            return
        state = load_state(path)
        if state["start_sha256"] != digest:
            raise ValueError(f"{path} belongs to a training that began with other weights")
        self._resumed, self._start_sha256 = True, digest
        self._last_step, self._gradients = state["last_step"], state["gradients"]
        self.seen, self.best_epoch = state["seen"], state["best_epoch"]
        self._seconds = state["seconds"]
        restore_training_state(self, state)
        close_at = self.epochs - self.args.close_mosaic
        if 0 <= close_at < state["epochs"]:
            # Ultralytics 8.3 does this in that one epoch only
            self._close_dataloader_mosaic()  # type: ignore[attr-defined]
        LOGGER.info(f"going on after epoch {state['epochs']} of {self.epochs}")

    def run_callbacks(self, event: str) -> None:
        """Run callbacks, after what an event means for a repeatable training."""
        if event == "on_train_start":
            self.train_time_start = time.time() - self._seconds
        elif event == "on_train_epoch_start":
            self._begin_epoch()
        elif event == "on_train_batch_end":
            self.accumulate = self._accumulate
        elif event == "on_train_epoch_end":
            self._refuse_nan()
        elif event == "on_train_end" and RANK in (-1, 0):
            self._write_trained()
        going_on = event == "on_pretrain_routine_end" and self._resumed
        if going_on:
            # loggers then go on with the record that they began
            self.args.resume = True
        super().run_callbacks(event)  # type: ignore[misc]
        if going_on:
            self.args.resume = False

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Prepare a batch, with sizes drawn from seed and epoch."""
        self._batch += 1
        self._accumulate = self.accumulate
        if self._resumed and self._batch - self._last_step < self.accumulate:
            # Ultralytics has forgotten when the last step was, and would make one now
            self.accumulate = math.inf
        with random_numbers_from(mixed_seed(self.args.seed, RESIZING, self._batch)):
            return super().preprocess_batch(batch)  # type: ignore[misc]

    def optimizer_step(self) -> None:
        """Make a step."""
        super().optimizer_step()  # type: ignore[misc]
        self._last_step, self._resumed = self._batch, False

    def save_model(self) -> Any:
        """Save the checkpoints of this epoch, then the state that the next one begins with."""
        # the same comparison decides in Ultralytics
        if self.best_fitness == self.fitness:  # type: ignore[attr-defined]
            self.best_epoch = self.epoch + 1
        result = super().save_model()  # type: ignore[misc]
        self._seconds = time.time() - self.train_time_start
        loader = self.train_loader
        line = {"epoch": self.epoch, "digest": loader.seen.hexdigest()}
        self.seen = [*self.seen[: self.epoch], {**line, "images": loader.seen.num_images}]
        # after the last epoch the one before remains, until everything is written
        if not self.stop:  # type: ignore[attr-defined]
            save_state(self.save_dir / STATE, self._whole_state())
        text = "".join(f"{json.dumps(line)}\n" for line in self.seen)
        write_whole(self.save_dir / SEEN, text.encode())
        return result

    def final_eval(self) -> None:
        """Strip the checkpoints and validate the best; a crash leaves them as they were."""
        if RANK not in (-1, 0):
            super().final_eval()  # type: ignore[misc]
            return
        final = (self.last, self.best)
        draft = self.wdir / ".stripping"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            for file in final:
                if file.exists():
                    shutil.copy2(file, draft / file.name)
            self.last, self.best = (draft / file.name for file in final)
            super().final_eval()  # type: ignore[misc]
            for file in final:
                if (draft / file.name).exists():
                    write_whole(file, (draft / file.name).read_bytes())
        finally:
            self.last, self.best = final
            shutil.rmtree(draft, ignore_errors=True)

    def _build_train_pipeline(self) -> None:
        if getattr(self, "optimizer", None) is not None:
            # Ultralytics 8.4 comes here a second time after an out-of-memory error
            raise MemoryError(
                "a batch does not fit into the memory of the device, and a smaller one would be "
                "another training than that of the other arms; choose a smaller batch= or imgsz="
            )
        super()._build_train_pipeline()  # type: ignore[misc]

    def _begin_epoch(self) -> None:
        seed = mixed_seed(self.args.seed, NETWORK, self.epoch, max(RANK, 0))
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        self.train_loader.begin_epoch(self.epoch)
        self._batch = self.epoch * len(self.train_loader) - 1
        # only now, since Ultralytics begins with none
        for name, parameter in bare_network(self.model).named_parameters():
            if (gradient := self._gradients.pop(name, None)) is not None:
                parameter.grad = gradient.to(parameter.device)

    def _whole_state(self) -> dict[str, Any]:
        waiting = self._last_step != self._batch
        parameters = bare_network(self.model).named_parameters()
        gradients = {n: p.grad for n, p in parameters if p.grad is not None} if waiting else {}
        return {
            **training_state(self),
            "start_sha256": self._start_sha256,
            "seen": self.seen,
            "best_epoch": self.best_epoch,
            "seconds": self._seconds,
            "last_step": self._last_step,
            "gradients": gradients,
        }

    def _refuse_other_weights(self, start: dict[str, Tensor]) -> None:
        found = bare_network(self.model).state_dict()
        wrong = list(start.keys() ^ found.keys())
        wrong += [
            name
            for name in start.keys() & found.keys()
            if not torch.equal(start[name], found[name].float().cpu())
        ]
        if wrong:
            raise ValueError(
                f"model={self.args.model}: {len(wrong)} of its {len(start)} tensors are not what "
                f"the training would begin with: {', '.join(sorted(wrong)[:5])}; the file must "
                "hold the very network, with the classes of the dataset"
            )
        LOGGER.info(f"beginning with all {len(start)} tensors of {self.args.model}")

    def _refuse_nan(self) -> None:
        network = bare_network(self.model)
        bad = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
        loss: Tensor = self.loss  # type: ignore[attr-defined]
        if bad or not loss.isfinite().all():
            what = f"{len(bad)} tensors such as {bad[0]}" if bad else "the loss"
            raise FloatingPointError(
                f"epoch {self.epoch + 1}: {what} became NaN or infinite; try a smaller lr0=, a "
                "longer warm-up, or amp=False"
            )

    def _write_trained(self) -> None:
        peak, kind = peak_memory(self.device)
        parameters = sum(p.numel() for p in bare_network(self.model).parameters())
        content = {
            "start_sha256": self._start_sha256,
            "seen": [line["digest"] for line in self.seen],
            "epochs": len(self.seen),
            "train_seconds": self._seconds,
            "peak_memory_bytes": peak,
            "peak_memory_kind": kind,
            "best_epoch": self.best_epoch,
            "parameters": parameters,
            "device": processor_name(self.device),
        }
        write_whole(self.save_dir / TRAINED, json.dumps(content).encode())


class RepeatableDetectionTrainer(Repeatable, DetectionTrainer):
    """Trains detectors repeatably."""


class RepeatableRTDETRTrainer(Repeatable, RTDETRTrainer):
    """Trains RT-DETR repeatably."""


def use_threads(num_threads: int) -> None:
    """Let torch use a number of threads, also after Ultralytics has chosen a device.

    Args:
        num_threads: Threads of one operation; sums are rounded differently with another number.
    """
    torch.set_num_threads(num_threads)
    # what it sets whenever it selects the CPU: one less than the machine has, up to eight
    torch_utils.NUM_THREADS = num_threads
