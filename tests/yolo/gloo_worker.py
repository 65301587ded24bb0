"""One of two processes that train together on the CPU, as workers on several GPUs do.

RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 ... python gloo_worker.py MODEL DATA FOLDER CLS_LOSS
"""

import os
import sys
from pathlib import Path

import torch
from torch import distributed, nn

from mlla.yolo.trainers import DetectionTrainer

RANK = int(os.environ["RANK"])
STOCK_PARALLEL = nn.parallel.DistributedDataParallel
STOCK_BARRIER = distributed.barrier


class ParallelOnCpu(STOCK_PARALLEL):
    """Without devices; and a parameter that gets no gradient is an error."""

    def __init__(self, module, device_ids=None, find_unused_parameters=True, **options) -> None:
        super().__init__(module, **options)


class GlooTrainer(DetectionTrainer):
    """Ultralytics offers several processes on GPUs only."""

    without_gradient: set[str]

    def train(self) -> None:
        self.without_gradient = set()
        if hasattr(self, "world_size"):
            self.world_size = 2
            super().train()
        else:  # before 8.4
            self.args.amp = 0  # gloo broadcasts no booleans
            self._do_train(2)

    def _setup_ddp(self, world_size: int = 2) -> None:
        distributed.init_process_group("gloo", rank=RANK, world_size=2)

    def final_eval(self) -> None:
        """Leave out: 8.4 asks CUDA for the device of this process."""

    def optimizer_step(self) -> None:
        self.without_gradient |= {
            name
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        }
        super().optimizer_step()


def main() -> None:
    model, data, folder, cls_loss = sys.argv[1:]
    torch.set_num_threads(1)
    nn.parallel.DistributedDataParallel = ParallelOnCpu
    distributed.barrier = lambda **_: STOCK_BARRIER()
    trainer = GlooTrainer(
        overrides={
            "model": model,
            "data": data,
            "cls_loss": cls_loss,
            "project": folder,
            "name": "run",
            "exist_ok": True,
            "imgsz": 64,
            "epochs": 2,
            "batch": 4,
            "nbs": 4,
            "workers": 0,
            "device": "cpu",
            "amp": False,
            "plots": False,
            "optimizer": "SGD",
            "warmup_epochs": 0,
        }
    )
    start: dict[str, torch.Tensor] = {}
    trainer.add_callback(
        "on_train_start",
        lambda t: start.update({n: p.detach().clone() for n, p in t.model.named_parameters()}),
    )
    trainer.train()
    torch.save(
        {
            "processes": distributed.get_world_size(),
            "class_loss": type(trainer.model.module.criterion.bce).__name__,
            "start": start,
            "end": {name: p.detach() for name, p in trainer.model.named_parameters()},
            "without_gradient": trainer.without_gradient,
        },
        Path(folder) / f"rank{RANK}.pt",
    )
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
