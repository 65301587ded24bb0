"""What a selective scan must obey whatever the numbers are."""

# ruff: noqa: N806 -- A, B, C, D as in the equations
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import selective_scan
from mlla.ops.selective_scan import selective_scan_chunked

lengths = st.integers(1, 80)
seeds = st.integers(0, 2**32 - 1)
forms = st.sampled_from([selective_scan, selective_scan_chunked])


def draw(seed, length, width=6):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    def uniform(*shape):
        return torch.rand(shape, generator=generator)

    return [
        *(normal(2, 2, length, width), uniform(2, 2, length, width), -4 * uniform(2, width, 3)),
        *(normal(2, 2, length, 3), normal(2, 2, length, 3), normal(2, width)),
    ]


@given(forms, seeds, lengths, st.floats(-3, 3), st.floats(-3, 3))
def test_linear_in_the_tokens(scan, seed, length, a, b):
    first, *rest = draw(seed, length)
    second = first.flip(-1).cos()
    expected = a * scan(first, *rest) + b * scan(second, *rest)
    torch.testing.assert_close(scan(a * first + b * second, *rest), expected, atol=1e-4, rtol=1e-4)


@given(forms, seeds, st.integers(2, 80), st.data())
def test_no_token_sees_a_later_one(scan, seed, length, data):
    seen = data.draw(st.integers(1, length - 1))
    inputs = draw(seed, length)
    changed = [tensor.clone() for tensor in inputs]
    for index in (0, 1, 3, 4):
        changed[index][:, :, seen:] += 1
    before, after = scan(*inputs), scan(*changed)
    torch.testing.assert_close(after[:, :, :seen], before[:, :, :seen])
    assert not torch.allclose(after[:, :, seen:], before[:, :, seen:])


@given(forms, seeds, lengths)
def test_groups_samples_and_channels_do_not_meet(scan, seed, length):
    x, *rest = draw(seed, length)
    changed = x.clone()
    changed[1, 0, :, 3] += 1
    moved = (scan(changed, *rest) - scan(x, *rest)).abs().amax(2) > 1e-6
    assert moved[1, 0, 3]
    assert moved.sum() == 1


@given(forms, seeds, st.integers(2, 80), st.data())
def test_a_sequence_ends_the_same_whatever_follows(scan, seed, length, data):
    """A prefix can be scanned by itself."""
    end = data.draw(st.integers(1, length))
    x, delta, A, B, C, D = draw(seed, length)
    prefix = scan(*(t[:, :, :end] for t in (x, delta)), A, *(t[:, :, :end] for t in (B, C)), D)
    torch.testing.assert_close(prefix, scan(x, delta, A, B, C, D)[:, :, :end])


@given(forms, seeds, lengths)
def test_steps_of_zero_leave_only_the_token_itself(scan, seed, length):
    x, delta, A, B, C, D = draw(seed, length)
    torch.testing.assert_close(scan(x, 0 * delta, A, B, C, D), D[:, None] * x)


@given(forms, seeds, lengths)
def test_without_decay_the_state_is_a_running_sum(scan, seed, length):
    x, delta, A, B, C, D = draw(seed, length)
    sums = ((delta * x)[..., None] * B[..., None, :]).double().cumsum(2)
    expected = (sums * C.double()[..., None, :]).sum(-1).float()
    torch.testing.assert_close(scan(x, delta, 0 * A, B, C, 0 * D), expected, atol=1e-4, rtol=1e-4)
