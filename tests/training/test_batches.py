"""Which samples each process reads."""

import re

import numpy as np
import pytest
import torch

from mlla.training import LoopSettings
from mlla.training.batches import SampleKey, SeededSamples, ShareOfBatches
from mlla.training.portions import Portions, portions_of
from mlla.training.random_numbers import Purpose, derived_seed


def passes(portions, process=0, epoch=0, num_samples=50, seed=1):
    share = ShareOfBatches(num_samples, portions, seed=seed, process=process)
    share.epoch = epoch
    assert len(list(share)) == len(share)
    return list(share)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_all_processes_together_make_the_passes_of_one(processes):
    together = passes(Portions(3, 4, 1))
    shares = [passes(Portions(3, 4 // processes, processes), rank) for rank in range(processes)]
    of_each = 4 // processes
    for update in range(50 // 12):
        found = [samples for share in shares for samples in share[update * of_each :][:of_each]]
        assert found == together[update * 4 :][:4]


def test_an_epoch_shows_no_sample_twice_and_another_order_follows():
    first, second = (passes(Portions(4, 2, 1), epoch=epoch) for epoch in (0, 1))
    samples = [[key.sample for keys in epoch for key in keys] for epoch in (first, second)]
    for order in samples:
        assert len(set(order)) == len(order) == 48
    assert samples[0] != samples[1]
    assert {key.epoch for keys in second for key in keys} == {1}
    assert passes(Portions(4, 2, 1), seed=2) != first


def test_the_left_out_rest_is_another_in_each_epoch():
    rests = {
        frozenset(range(50))
        - {key.sample for keys in passes(Portions(48, 1, 1), epoch=e) for key in keys}
        for e in range(5)
    }
    assert len(rests) == 5


def test_too_few_samples():
    with pytest.raises(ValueError, match="batch=8 is more than the 7 training samples"):
        ShareOfBatches(7, Portions(4, 2, 1), seed=0, process=0)


class Drawing:
    def __getitem__(self, index):
        return torch.rand(()).item(), np.random.rand()


def test_a_sample_depends_on_seed_epoch_and_index_only():
    samples = SeededSamples(Drawing(), seed=5)
    first = samples[SampleKey(2, 7)]
    torch.rand(3)
    others = [SampleKey(2, 8), SampleKey(3, 7), SampleKey(7, 2)]
    assert all(samples[key] != first for key in others)
    assert samples[SampleKey(2, 7)] == first
    assert SeededSamples(Drawing(), seed=6)[SampleKey(2, 7)] != first


def test_purposes_do_not_share_numbers():
    seeds = {derived_seed(0, purpose, 1, 2) for purpose in Purpose}
    assert len(seeds) == len(Purpose)


@pytest.mark.parametrize(
    ("batch", "forward_batch", "processes", "expected"),
    [
        (64, None, 1, Portions(64, 1, 1)),
        (4096, None, 8, Portions(128, 4, 8)),
        (64, 16, 2, Portions(16, 2, 2)),
        # 150 is 2 passes of 75, not 128 and a rest
        (150, None, 1, Portions(75, 2, 1)),
    ],
)
def test_portions(batch, forward_batch, processes, expected):
    settings = LoopSettings(epochs=1, batch=batch, forward_batch=forward_batch)
    assert portions_of(settings, processes) == expected
    assert expected.batch == batch


@pytest.mark.parametrize(
    ("batch", "forward_batch", "processes", "message"),
    [
        (9, None, 2, "batch=9 cannot be shared by 2 processes"),
        (64, 64, 2, "each of 2 processes 32 samples, which forward_batch=64 does not divide"),
    ],
)
def test_portions_that_do_not_fit(batch, forward_batch, processes, message):
    settings = LoopSettings(epochs=1, batch=batch, forward_batch=forward_batch)
    with pytest.raises(ValueError, match=message):
        portions_of(settings, processes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be a whole number from 1 on"),
        ({"batch": 2.5}, "batch=2.5 must be a whole number"),
        ({"workers": -1}, "workers=-1 must be a whole number from 0 on"),
        ({"forward_batch": 0}, "forward_batch=0"),
        ({"precision": "int8"}, "precision='int8' must be one of fp32, bf16, fp16"),
        ({"device": "3"}, "CUDA_VISIBLE_DEVICES"),
        ({"clip_grad_norm": 0.0}, "clip_grad_norm=0.0 must be positive"),
        ({"ema_decay": 1.0}, "ema_decay=1.0 must be between 0 and 1"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LoopSettings(**{"epochs": 1, "batch": 1, **changes})
