"""The moving average of EMA slide: its course by hand, and where it stands still."""

import copy
import io
import math
import pickle

import pytest
import torch

from mlla.losses import EMASlideLoss, slide_loss


def seen(loss, *means):
    """Let the loss see batches whose positives have these means."""
    for mean in means:
        loss(torch.zeros(4), torch.tensor([0.0, mean, mean, 0.0]))
    return float(loss.mean_overlap)


def test_the_first_batch_sets_the_mean():
    loss = EMASlideLoss()
    assert seen(loss, 0.7) == pytest.approx(0.7)
    assert float(loss.num_updates) == 1


def test_the_course_of_the_mean_by_hand():
    loss = EMASlideLoss(decay=0.9, tau=2.0)
    # what is kept after one and after two batches
    one, two = 0.9 * (1 - math.exp(-1 / 2)), 0.9 * (1 - math.exp(-2 / 2))
    assert seen(loss, 0.8, 0.4) == pytest.approx(one * 0.8 + (1 - one) * 0.4)
    expected = two * (one * 0.8 + (1 - one) * 0.4) + (1 - two) * 0.6
    assert seen(loss, 0.6) == pytest.approx(expected)


def test_in_the_long_run_it_keeps_its_decay():
    loss = EMASlideLoss()
    loss.set_extra_state({"mean_overlap": 0.5, "num_updates": 1e6})
    assert seen(loss, 0.9) == pytest.approx(0.999 * 0.5 + 0.001 * 0.9)


def test_the_loss_is_slide_around_the_moving_mean():
    loss = EMASlideLoss(decay=0.9, tau=2.0)
    seen(loss, 0.9)
    logits, targets = torch.randn(5), torch.tensor([0.0, 0.5, 0.2, 0.0, 0.5])
    kept = 0.9 * (1 - math.exp(-1 / 2))
    mean = kept * 0.9 + (1 - kept) * 0.4
    torch.testing.assert_close(loss(logits, targets), slide_loss(logits, targets, mean))
    assert not torch.allclose(slide_loss(logits, targets, mean), slide_loss(logits, targets))


def test_options_matter():
    means = [seen(EMASlideLoss(**o), 0.8, 0.4) for o in ({}, {"decay": 0.5}, {"tau": 1.0})]
    assert len({round(mean, 7) for mean in means}) == 3


def test_batches_without_positives_and_validation_leave_it():
    loss = EMASlideLoss()
    before = seen(loss, 0.6, 0.5)
    assert seen(loss, 0.0) == before
    assert seen(loss.eval(), 0.9) == before
    assert float(loss.num_updates) == 2
    assert seen(loss.train(), 0.9) != before


def test_before_the_first_positive_the_floor_holds():
    logits = torch.randn(6)
    loss = EMASlideLoss()
    torch.testing.assert_close(
        loss(logits, torch.zeros(6)), slide_loss(logits, torch.zeros(6), 0.2)
    )
    assert float(loss.num_updates) == 0


def test_half_neither_rounds_nor_stops_the_mean():
    loss = EMASlideLoss()
    loss.set_extra_state({"mean_overlap": 0.61, "num_updates": 20_000.0})
    assert float(loss.half().mean_overlap) == pytest.approx(0.61, abs=1e-7)
    after = seen(loss, 0.62)
    # float16 has steps of 5e-4 here, and would never move
    assert 0 < after - 0.61 < 2e-5
    targets = torch.tensor([0.0, 0.5], dtype=torch.float16)
    assert loss(torch.zeros(2, dtype=torch.float16), targets).dtype == torch.float32


def test_it_goes_on_where_a_copy_or_a_file_left_off():
    loss = EMASlideLoss(decay=0.9, tau=2.0)
    seen(loss, 0.8, 0.3, 0.5)
    restored = EMASlideLoss(decay=0.9, tau=2.0)
    file = io.BytesIO()
    torch.save(loss.state_dict(), file)
    file.seek(0)
    restored.load_state_dict(torch.load(file, weights_only=True))
    copies = [copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), restored]
    expected = seen(loss, 0.7)
    assert [seen(other, 0.7) for other in copies] == [expected] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.0}, r"decay=1\.0 must be in \[0, 1\)"),
        ({"tau": 0.0}, r"tau=0\.0 must be a pos"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EMASlideLoss(**options)
