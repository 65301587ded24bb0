"""How the samples of one update are portioned into forward passes and processes."""

from __future__ import annotations

from dataclasses import dataclass

from mlla.training.settings import LoopSettings

# forward passes of the published recipe have so many images
LARGEST_DEFAULT = 128


@dataclass(frozen=True)
class Portions:
    """A batch is `processes` x `passes` x `forward_batch` samples.

    Args:
        forward_batch: Samples of a forward pass.
        passes: Forward passes of one process for an update.
        processes: Processes that share the batch.
    """

    forward_batch: int
    passes: int
    processes: int

    @property
    def batch(self) -> int:
        """Samples of an update."""
        return self.forward_batch * self.passes * self.processes


def portions_of(settings: LoopSettings, num_processes: int) -> Portions:
    """Share the batch among processes and forward passes.

    Args:
        settings: With a `forward_batch`, or None for the share of a process, at most 128.
        num_processes: Processes of the training.

    Returns:
        The portions.

    Raises:
        ValueError: If the batch cannot be shared evenly.
    """
    share, rest = divmod(settings.batch, num_processes)
    if rest:
        raise ValueError(
            f"batch={settings.batch} cannot be shared by {num_processes} processes; it must be a "
            f"multiple of {num_processes}"
        )
    size = settings.forward_batch or _largest_divisor(share, LARGEST_DEFAULT)
    if share % size:
        raise ValueError(
            f"batch={settings.batch} gives each of {num_processes} processes {share} samples, "
            f"which forward_batch={size} does not divide"
        )
    return Portions(size, share // size, num_processes)


def _largest_divisor(number: int, limit: int) -> int:
    return next(size for size in range(min(number, limit), 0, -1) if number % size == 0)
