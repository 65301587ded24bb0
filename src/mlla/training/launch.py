"""The processes of a training, their devices and precision, through Hugging Face accelerate."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Item = TypeVar("Item")
HALF_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Launch:
    """One process of a training and what it shares with the others.

    Started by `torchrun`, each process takes a GPU of its machine, or the CPU where there is
    none; started plainly there is one process.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: "auto", or "cpu" even where there is a GPU.

    Raises:
        ImportError: If accelerate is not installed.
        ValueError: If the device cannot multiply in that precision.
        RuntimeError: If the processes do not find each other, or an earlier training of this
            Python process was on another device.
    """

    def __init__(self, precision: str = "fp32", device: str = "auto") -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                f"training needs accelerate ({error}); pip install 'mlla[train]'"
            ) from error
        # accelerate would start one training for each process unless it is told of the cpu
        on_cpu = device == "cpu" or not torch.accelerator.is_available()
        if on_cpu and precision == "fp16":
            raise ValueError("precision=fp16 needs a GPU; use bf16 or fp32 on a CPU")
        try:
            # what accelerate knows of precision is settled for good by the first training of a
            # Python process, so it is told of none
            self._accelerator: Any = Accelerator(cpu=on_cpu, mixed_precision="no")
        except ValueError as error:
            raise RuntimeError(
                f"device={device} cannot follow an earlier training of this Python process on "
                f"another device ({error}); start a new process"
            ) from error
        self.device: torch.device = self._accelerator.device
        self.process: int = self._accelerator.process_index
        self.num_processes: int = self._accelerator.num_processes
        self.is_main: bool = self.process == 0
        self._type = HALF_TYPES.get(precision)
        #: Scales losses of fp16, whose gradients would vanish; leaves others alone.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        expected = int(os.environ.get("WORLD_SIZE", "1"))
        if self.num_processes != expected:
            raise RuntimeError(
                f"WORLD_SIZE={expected} processes were started and {self.num_processes} found "
                "each other"
            )

    def share(self, model: nn.Module) -> nn.Module:
        """Wrap a model, whose gradients are then averaged over processes."""
        return self._accelerator.prepare_model(model)

    def to_device(self, batch: Any) -> Any:
        """Move the tensors of nested lists, tuples and dictionaries to the device."""
        from accelerate.utils import send_to_device

        return send_to_device(batch, self.device, non_blocking=True)

    def autocast(self) -> AbstractContextManager[Any]:
        """Multiply in the precision of the training, within this context."""
        if self._type is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self._type)

    def accumulating(self, model: nn.Module, *, is_last: bool) -> AbstractContextManager[Any]:
        """Keep gradients to this process until the last forward pass of an update."""
        return nullcontext() if is_last else self._accelerator.no_sync(model)

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the mean of a tensor over processes."""
        return self._accelerator.reduce(tensor, reduction="mean")

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of all processes, one process after the other, on each of them."""
        if self.num_processes == 1:
            return list(items)
        from accelerate.utils import gather_object

        return gather_object(list(items))

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._accelerator.wait_for_everyone()

    def say(self, text: str) -> None:
        """Print in the main process."""
        if self.is_main:
            print(text, flush=True)
