"""Half precision, autocast, memory, and the exponential of the kernel."""

# ruff: noqa: N806 -- A, B, C, D as in the equations
import math
from functools import cache
from itertools import accumulate

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.selective_scan import kernel, selective_scan_chunked, selective_scan_traceable
from mlla.ops.simd.lanes import LANES

HALVES = [torch.float16, torch.bfloat16]
FORMS = [selective_scan, selective_scan_chunked, selective_scan_traceable]


def draw(length=50, width=10, states=4, groups=2, dtype=torch.float32, device="cpu"):
    inputs = [
        *(torch.randn(2, groups, length, width), torch.rand(2, groups, length, width)),
        *(-3 * torch.rand(groups, width, states), torch.randn(2, groups, length, states)),
        *(torch.randn(2, groups, length, states), torch.randn(groups, width)),
    ]
    return [tensor.to(device, dtype) for tensor in inputs]


@pytest.mark.parametrize("scan", FORMS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_rounded_only_at_the_ends(scan, dtype):
    inputs = [tensor.requires_grad_() for tensor in draw(dtype=dtype)]
    output = scan(*inputs)
    gradients = torch.autograd.grad(output.float().sum(), inputs)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = selective_scan_reference(*exact)
    wanted = torch.autograd.grad(expected.sum(), exact)
    for mine, theirs in zip((output, *gradients), (expected, *wanted), strict=True):
        assert mine.dtype == dtype
        # one rounding of the result; half a unit in the last place, relative to the largest
        error = (mine.double() - theirs).abs().max() / theirs.abs().max()
        assert error <= torch.finfo(dtype).eps


@pytest.mark.parametrize("scan", [*FORMS, selective_scan_reference])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_autocast_does_not_reach_the_scan(scan, dtype):
    inputs = [tensor.requires_grad_() for tensor in draw()]
    expected = scan(*inputs)
    wanted = torch.autograd.grad(expected.sum(), inputs)
    with torch.autocast("cpu", dtype=dtype):
        ours = scan(*inputs)
        gradients = torch.autograd.grad(ours.sum(), inputs)
    for mine, theirs in zip((ours, *gradients), (expected, *wanted), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("scan", FORMS)
def test_mixed_dtypes_as_under_autocast(scan):
    x, delta, A, B, C, D = draw()
    half = [tensor.to(torch.bfloat16) for tensor in (x, B, C)]
    output = scan(half[0], delta, A, half[1], half[2], D)
    expected = scan(half[0].float(), delta, A, half[1].float(), half[2].float(), D)
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output, expected.to(torch.bfloat16))


@pytest.mark.parametrize("scan", FORMS)
def test_meta_tensors_pass(scan):
    assert scan(*draw(device="meta")).shape == (2, 2, 50, 10)


def test_memory_grows_with_the_tokens_and_not_with_tokens_times_states():
    """What autograd keeps, counted; the states of all tokens would be 16 times the tokens."""
    saved = []

    def count(tensor):
        saved.append(tensor.untyped_storage().nbytes())
        return tensor

    for scan in (selective_scan, selective_scan_chunked):
        totals = []
        for length in (512, 1024, 2048):
            inputs = [tensor.requires_grad_() for tensor in draw(length, 64, 16, groups=4)]
            saved.clear()
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
                scan(*inputs)
            totals.append(sum(saved) / inputs[0].untyped_storage().nbytes())
        # in units of x: x, delta, B, C and less than one x of states, at every length
        assert max(totals) < 4.5
        assert totals[2] < 1.1 * totals[0]


@pytest.mark.parametrize("scan", [selective_scan, selective_scan_chunked])
def test_peak_memory_is_linear_in_the_tokens(scan):
    """What PyTorch holds at once, forward and backward; resident memory tells of the allocator."""

    def peak_mib(length):
        inputs = [tensor.requires_grad_() for tensor in draw(length, 64, 16, groups=4)]
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            scan(*inputs).sum().backward()
        events = [
            event
            for event in recorded.profiler.kineto_results.events()
            if event.name() == "[memory]"
        ]
        events.sort(key=lambda event: event.start_ns())
        return max(accumulate(event.nbytes() for event in events)) / 2**20

    small, middle, large = (peak_mib(length) for length in (1600, 3200, 6400))
    assert large - middle < 2.5 * (middle - small)
    # the states of all tokens alone would grow by 100 MiB
    assert large - middle < 40


def test_kernel_writes_all_of_its_output():
    """Arrays filled with NaN beforehand, which `torch.empty` only seldom is."""
    pytest.importorskip("numba")
    scan_forward, scan_backward = kernel.compiled_loops()
    batch, groups, length, width, states, parts = 2, 3, 70, 130, 3, 2
    x, delta, A, B, C, D = (tensor.numpy() for tensor in draw(length, width, states, groups=groups))

    def unwritten(*shape):
        return np.full(shape, math.nan, np.float32)

    y, kept = unwritten(batch, groups, length, width), unwritten(batch, groups, 3, states, width)
    tasks = batch * groups * 3
    scan_forward((0, 1, 0, tasks, tasks), x, delta, A, B, C, D, y, kept)
    gradients = [
        *(unwritten(*x.shape), unwritten(*x.shape), unwritten(batch, *A.shape)),
        *(unwritten(parts, *B.shape), unwritten(parts, *B.shape), unwritten(batch, *D.shape)),
    ]
    tasks = batch * groups * parts
    scan_backward((0, 1, 0, tasks, tasks), x, x, delta, A, B, C, D, kept, *gradients)
    assert all(np.isfinite(array).all() for array in (y, kept, *gradients))


@cache
def compiled_powers():
    from numba import njit

    from mlla.ops.simd.exponential import mild_power_of_two, power_of_two
    from mlla.ops.simd.vectors import broadcast, load, store

    @njit
    def fill(factors, exponents, results):
        for i in range(0, exponents.size, LANES):
            store(results, i, power_of_two(load(exponents, i), broadcast(factors, 0)))

    @njit
    def fill_mildly(factors, exponents, results):
        for i in range(0, exponents.size, LANES):
            store(results, i, mild_power_of_two(load(exponents, i), broadcast(factors, 0)))

    return {"any": fill, "mild": fill_mildly}


def powers_of_two(exponents, form="any"):
    padded = np.zeros(-(-exponents.size // LANES) * LANES, np.float32)
    padded[: exponents.size] = exponents
    results = np.empty_like(padded)
    compiled_powers()[form](np.ones(1, np.float32), padded, results)
    return results[: exponents.size]


@pytest.mark.parametrize("form", ["any", "mild"])
def test_power_of_two_is_right_to_two_and_a_half_units_in_the_last_place(form):
    pytest.importorskip("numba")
    exponents = np.concatenate(
        [
            np.linspace(-126, 126, 200_001),
            -np.logspace(-45, 2, 20_001),
            np.arange(-126, 127),
            np.nextafter(np.arange(-125.5, 126), -np.inf, dtype=np.float32),
        ]
    ).astype(np.float32)
    ours = powers_of_two(exponents, form).astype(np.float64)
    expected = np.exp2(exponents.astype(np.float64))
    error = np.abs(ours - expected) / np.spacing(expected.astype(np.float32)).astype(np.float64)
    assert error.max() < 2.5
    whole = exponents == np.round(exponents)
    assert (ours[whole] == expected[whole]).all()


def test_power_of_two_ends_in_zero_and_infinity():
    pytest.importorskip("numba")
    inf, nan = math.inf, math.nan
    low = powers_of_two(np.array([-127, -128, -1e4, -3e38, -inf], np.float32))
    assert (low == 0).all()
    high = powers_of_two(np.array([128, 1e4, inf], np.float32))
    assert (high == inf).all()
    for form in ("any", "mild"):
        assert np.isnan(powers_of_two(np.array([nan], np.float32), form)).all()
        assert (powers_of_two(np.array([0.0, -0.0], np.float32), form) == 1).all()
    between = powers_of_two(np.linspace(-127, -126, 1001, dtype=np.float32))
    assert (np.abs(between - np.exp2(np.linspace(-127, -126, 1001))) <= 2.0**-127).all()
