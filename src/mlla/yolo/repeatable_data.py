# SPDX-License-Identifier: AGPL-3.0-only
"""Training batches that depend on the seed and the epoch alone, and a digest of what was shown.

Ultralytics draws the order of images, their augmentation and the partners in a mosaic from state
that lasts over epochs: a resumed training, or one of a network that draws random numbers itself,
sees other images. Here every epoch begins anew.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

# what a stream of random numbers is for
ORDER, AUGMENTATION, LOADER_PROCESSES, RESIZING, NETWORK = range(5)
# of the pixels, every eighth row is digested: a change of the augmentation changes all of them
ROW_STEP = 8


def mixed_seed(*numbers: int) -> int:
    """Return a seed of 32 bits for a combination of seed, purpose, epoch and so on."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextmanager
def random_numbers_from(seed: int) -> Iterator[None]:
    """Draw from a seed for a while; afterwards all generators go on where they were.

    Args:
        seed: For the generators of Python, numpy and torch, the latter on the CPU.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


class EpochLoader(DataLoader[Any]):
    """Loads the training images of one epoch after the other.

    Args:
        stock: What Ultralytics would load them with.
        seed: Seed of the training.
        num_workers: Number of processes that load images. Each of them augments some of the batches
            with a memory of its own, so the augmentation depends on it, too; the order does not.
        rank: Number of this process among those that train together, or -1.
    """

    sampler: DistributedSampler[Any]

    def __init__(
        self, stock: DataLoader[Any], *, seed: int, num_workers: int, rank: int = -1
    ) -> None:
        replicas = torch.distributed.get_world_size() if rank >= 0 else 1
        super().__init__(
            stock.dataset,
            batch_size=stock.batch_size,
            sampler=DistributedSampler(
                stock.dataset,
                num_replicas=replicas,
                rank=max(rank, 0),
                shuffle=isinstance(stock.sampler, RandomSampler | DistributedSampler),
                # the sampler adds the epoch
                seed=mixed_seed(seed, ORDER),
            ),
            num_workers=num_workers if len(stock) > 1 else 0,
            collate_fn=stock.collate_fn,
            # Ultralytics 8.3 asks for it, with a warning, where there is no graphics card
            pin_memory=stock.pin_memory and torch.cuda.is_available(),
            drop_last=stock.drop_last,
            worker_init_fn=stock.worker_init_fn,
            generator=torch.Generator(),
        )
        self.words = (seed, max(rank, 0))
        self.epoch = 0
        self.seen = SeenImages()

    def begin_epoch(self, epoch: int) -> None:
        """Forget what earlier epochs left behind."""
        self.epoch = epoch
        self.seen = SeenImages()
        self.generator.manual_seed(mixed_seed(*self.words, LOADER_PROCESSES, epoch))
        self.sampler.set_epoch(epoch - 1)
        order = list(self.sampler)
        self.sampler.set_epoch(epoch)
        dataset: Any = self.dataset
        if dataset.cache != "ram":
            for number in dataset.buffer:
                dataset.ims[number] = dataset.im_hw0[number] = dataset.im_hw[number] = None
        # the first mosaics take their partners from the end of the epoch before, as if it was seen
        dataset.buffer = order[-max(dataset.max_buffer_length - 1, 1) :]
        for transform in dataset.transforms.transforms:
            # 8.3.70 seeds the generator that albumentations keeps once, newer releases as needed
            own: Any = getattr(transform, "transform", None)
            if hasattr(own, "set_random_seed"):
                own.set_random_seed(mixed_seed(*self.words, AUGMENTATION, epoch))

    def reset(self) -> None:
        """Do nothing: Ultralytics asks for new processes, which every epoch has anyway."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches of one epoch."""
        batches = super().__iter__()
        for number in range(len(self)):
            if self.num_workers:
                batch = next(batches)
            else:
                with random_numbers_from(mixed_seed(*self.words, AUGMENTATION, self.epoch, number)):
                    batch = next(batches)
            self.seen.add(batch)
            yield batch


class SeenImages:
    """A digest of the batches of an epoch: names in their order, labels, augmented pixels."""

    def __init__(self) -> None:
        self.num_images = 0
        self._digest = hashlib.sha256()

    def add(self, batch: dict[str, Any]) -> None:
        """Take in one batch as the loader yields it."""
        names = [Path(name).name for name in batch["im_file"]]
        self.num_images += len(names)
        self._digest.update("\n".join(names).encode())
        for part in (batch["cls"], batch["bboxes"], batch["img"][:, :, ::ROW_STEP]):
            self._digest.update(part.contiguous().numpy().tobytes())

    def hexdigest(self) -> str:
        """Return the digest of all batches so far."""
        return self._digest.hexdigest()
