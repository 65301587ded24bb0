"""Running statistics of batch norms, the same however forward passes are shared.

A forward pass moves them towards the statistics of its samples. Processes that keep their own would
drift apart, and one process that makes several passes would move them several times; here an
update moves them once, by the mean of its forward passes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mlla.training.launch import Launch


class RunningStatistics:
    """Averages what the forward passes of an update do to running statistics.

    Args:
        model: Its batch norms that keep statistics are looked after.
        launch: The processes.
        passes: Forward passes of a process for an update.
    """

    def __init__(self, model: nn.Module, launch: Launch, passes: int) -> None:
        norms = [
            module
            for module in model.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
        ]
        self._moving = [
            buffer
            for norm in norms
            for buffer in (norm.running_mean, norm.running_var)
            if buffer is not None
        ]
        self._counts = [
            norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None
        ]
        self.launch = launch
        self.passes = passes
        self.is_needed = bool(norms) and passes * launch.num_processes > 1
        self._start: list[Tensor] = []
        self._sum: list[Tensor] = []
        self._counted: list[Tensor] = []

    def begin_update(self) -> None:
        """Remember where the statistics are."""
        if self.is_needed:
            self._start = [buffer.clone() for buffer in (*self._moving, *self._counts)]
            self._sum = [torch.zeros_like(buffer) for buffer in self._moving]

    def end_pass(self) -> None:
        """Take up what a pass did, and undo it; call this after its backward pass."""
        if self.is_needed:
            for total, buffer in zip(self._sum, self._moving, strict=True):
                total += buffer
            self._counted = [count.clone() for count in self._counts]
            for buffer, start in zip((*self._moving, *self._counts), self._start, strict=True):
                buffer.copy_(start)

    def end_update(self) -> None:
        """Set the statistics to their mean over passes and processes."""
        if not self.is_needed:
            return
        flat = self.launch.mean(torch.cat(self._sum) / self.passes)
        sizes = [buffer.numel() for buffer in self._moving]
        for buffer, mean in zip(self._moving, flat.split(sizes), strict=True):
            buffer.copy_(mean)
        for count, counted in zip(self._counts, self._counted, strict=True):
            count.copy_(counted)
