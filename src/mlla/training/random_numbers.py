"""Random numbers that depend on what they are for, not on which process draws them or when.

Every generator is seeded anew for each sample and each forward pass, from the seed of the training
and the place in it. So any number of processes and workers sees the same samples, and a training
that was interrupted goes on as if it had not been, without stored states of generators.
"""

from __future__ import annotations

import random
from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What numbers are drawn for; no two purposes share a sequence."""

    WEIGHTS = 0
    ORDER = 1
    SAMPLE = 2
    FORWARD = 3


def derived_seed(seed: int, purpose: Purpose, *place: int) -> int:
    """Return 32 bits that depend on the seed, the purpose and the place.

    Args:
        seed: Of the training.
        purpose: What for.
        place: Such as the epoch and the index of the sample.
    """
    return int(np.random.SeedSequence([seed, purpose, *place]).generate_state(1)[0])


def seed_generators(seed: int, purpose: Purpose, *place: int) -> None:
    """Seed the generators of Python, NumPy and PyTorch, on every device.

    Args:
        seed: Of the training.
        purpose: What for.
        place: Such as the epoch and the index of the sample.
    """
    number = derived_seed(seed, purpose, *place)
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
