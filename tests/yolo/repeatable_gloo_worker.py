"""One of two processes that train repeatably on the CPU, as workers on several GPUs do.

RANK=0 LOCAL_RANK=0 WORLD_SIZE=2 ... python repeatable_gloo_worker.py MODEL DATA FOLDER EPOCH

Both end in the first batch of EPOCH; with -1 they train to the end.
"""

import os
import sys

import torch
from gloo_worker import STOCK_BARRIER, GlooTrainer, ParallelOnCpu
from torch import distributed, nn

from mlla.yolo.repeatable import Repeatable


class RepeatableGlooTrainer(Repeatable, GlooTrainer):
    """Trains in two processes."""


def main() -> None:
    model, data, folder, stop_in_epoch = sys.argv[1:]
    torch.set_num_threads(1)
    nn.parallel.DistributedDataParallel = ParallelOnCpu
    distributed.barrier = lambda **_: STOCK_BARRIER()
    trainer = RepeatableGlooTrainer(
        overrides={
            "model": model,
            "data": data,
            "project": folder,
            "name": "run",
            "exist_ok": True,
            "imgsz": 64,
            "epochs": 3,
            "batch": 4,
            # steps span epochs
            "nbs": 12,
            "device": "cpu",
            "amp": False,
            "plots": False,
            "optimizer": "AdamW",
            "lr0": 0.001,
            "warmup_epochs": 0,
            "close_mosaic": 1,
        }
    )

    def stop(trainer: RepeatableGlooTrainer) -> None:
        if trainer.epoch == int(stop_in_epoch):
            os._exit(0)

    trainer.add_callback("on_train_batch_end", stop)
    trainer.train()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
