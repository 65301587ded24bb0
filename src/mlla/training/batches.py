"""Which samples a process reads, in which order, and with which random numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from mlla.training.launch import Launch
from mlla.training.portions import Portions
from mlla.training.random_numbers import Purpose, derived_seed, seed_generators

Collate = Callable[[list[Any]], Any]


class SampleKey(NamedTuple):
    """One sample in one epoch: all that its augmentation may depend on."""

    epoch: int
    sample: int


class SeededSamples(Dataset[Any]):
    """Draws each sample with random numbers of its own.

    Args:
        dataset: Samples by index, from 0 on.
        seed: Of the training.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __getitem__(self, key: SampleKey) -> Any:
        seed_generators(self.seed, Purpose.SAMPLE, key.epoch, key.sample)
        return self.dataset[key.sample]


class ShareOfBatches(Sampler[list[SampleKey]]):
    """The forward passes of one process, a list of samples each.

    A random order of all samples is cut into batches, and each batch into forward passes; this
    does not depend on the number of processes. A process takes consecutive passes of every batch.

    Args:
        num_samples: Samples of the training.
        portions: How a batch is shared.
        seed: Of the training.
        process: Number of this process.

    Raises:
        ValueError: If there are fewer samples than a batch has.
    """

    def __init__(self, num_samples: int, portions: Portions, *, seed: int, process: int) -> None:
        if num_samples < portions.batch:
            raise ValueError(
                f"batch={portions.batch} is more than the {num_samples} training samples; choose "
                f"a batch of {num_samples} or less"
            )
        self.num_samples = num_samples
        self.portions = portions
        self.seed = seed
        self.process = process
        self.epoch = 0

    @property
    def updates(self) -> int:
        """Batches of an epoch."""
        return self.num_samples // self.portions.batch

    def __len__(self) -> int:
        return self.updates * self.portions.passes

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, size, passes = self.epoch, self.portions.forward_batch, self.portions.passes
        generator = torch.Generator().manual_seed(derived_seed(self.seed, Purpose.ORDER, epoch))
        order = torch.randperm(self.num_samples, generator=generator).tolist()
        for update in range(self.updates):
            first = update * self.portions.batch + self.process * passes * size
            for start in range(first, first + passes * size, size):
                yield [SampleKey(epoch, index) for index in order[start : start + size]]


def training_loader(
    dataset: Any, share: ShareOfBatches, *, workers: int, collate: Collate | None
) -> DataLoader[Any]:
    """Return a loader of the forward passes of one process.

    Args:
        dataset: Samples by index, as without any seed.
        share: What this process reads.
        workers: Processes that read.
        collate: Makes a batch of samples; by default that of PyTorch.
    """
    return DataLoader(
        SeededSamples(dataset, share.seed),
        batch_sampler=share,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


def evaluation_batches(
    dataset: Any,
    launch: Launch,
    *,
    batch: int,
    workers: int,
    collate: Collate | None = None,
) -> Iterator[tuple[list[int], Any]]:
    """Give this process its share of samples to score, each sample to one process.

    Args:
        dataset: Samples by index.
        launch: The processes.
        batch: Largest number of samples at once.
        workers: Processes that read.
        collate: Makes a batch of samples; by default that of PyTorch.

    Yields:
        Indices of samples, and their batch on the device; gather results with `launch.gather`.
    """
    mine = range(launch.process, len(dataset), launch.num_processes)
    loader = DataLoader(
        Subset(dataset, mine), batch_size=batch, num_workers=workers, collate_fn=collate
    )
    for number, samples in enumerate(loader):
        yield list(mine[number * batch : (number + 1) * batch]), launch.to_device(samples)
