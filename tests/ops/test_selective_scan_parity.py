"""Every form of the selective scan against the reference, and that against plain loops."""

# ruff: noqa: N803, N806 -- A, B, C, D as in the equations
import math
import sys
import threading

import pytest
import torch

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.selective_scan import selective_scan_chunked, selective_scan_traceable
from mlla.ops.selective_scan.chunked import states_in_pairs, states_one_by_one

FORMS = {
    "kernel": selective_scan,
    "chunked": selective_scan_chunked,
    "traceable": selective_scan_traceable,
}
# batch, groups, tokens, channels, states: around the tiles of the kernel (32 tokens, 64 channels)
SIZES = [
    *[(1, 1, 1, 1, 1), (2, 3, 1, 5, 4), (1, 2, 31, 64, 16), (1, 1, 32, 65, 3), (2, 4, 33, 20, 2)],
    *[(1, 1, 257, 130, 5), (1, 1, 1000, 8, 2)],
]
# largest allowed |ours - reference| / max(1, max |reference|), reference in float64
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-6}
NAMES = ("output", "x", "delta", "A", "B", "C", "D")


def draw(batch, groups, length, width, states, dtype=torch.float32, scale=1.0):
    """Inputs as models have them: positive steps, negative rates."""
    inputs = [
        torch.randn(batch, groups, length, width),
        scale * torch.rand(batch, groups, length, width),
        -3 * torch.rand(groups, width, states),
        torch.randn(batch, groups, length, states),
        torch.randn(batch, groups, length, states),
        torch.randn(groups, width),
    ]
    return [tensor.to(dtype) for tensor in inputs]


def relative_error(ours, expected):
    return ((ours.double() - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def with_gradients(scan, inputs, cotangent):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = scan(*leaves)
    gradients = torch.autograd.grad(output, leaves, cotangent.to(output.dtype))
    return [output.detach(), *gradients]


def compare(scan, inputs, tolerance):
    cotangent = torch.randn(inputs[0].shape)
    ours = with_gradients(scan, inputs, cotangent)
    exact = [tensor.double() for tensor in inputs]
    expected = with_gradients(selective_scan_reference, exact, cotangent)
    for name, mine, theirs in zip(NAMES, ours, expected, strict=True):
        assert mine.dtype == inputs[0].dtype, name
        assert mine.shape == theirs.shape, name
        assert relative_error(mine, theirs) <= tolerance, name


def scan_in_loops(x, delta, A, B, C, D):
    """The two equations of the paper for one sequence, one scalar at a time."""
    length, width = x.shape
    num_states = A.shape[1]
    output = torch.zeros(length, width, dtype=torch.float64)
    for c in range(width):
        state = [0.0] * num_states
        for t in range(length):
            token, step = float(x[t, c]), float(delta[t, c])
            state = [
                math.exp(step * float(A[c, n])) * state[n] + step * float(B[t, n]) * token
                for n in range(num_states)
            ]
            read = sum(float(C[t, n]) * state[n] for n in range(num_states))
            output[t, c] = read + float(D[c]) * token
    return output


def test_reference_is_the_formula_of_the_paper():
    x, delta, A, B, C, D = draw(2, 3, 7, 4, 2, torch.float64)
    ours = selective_scan_reference(x, delta, A, B, C, D)
    for b in range(2):
        for g in range(3):
            expected = scan_in_loops(x[b, g], delta[b, g], A[g], B[b, g], C[b, g], D[g])
            assert relative_error(ours[b, g], expected) < 1e-14


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_reference_in_output_and_every_gradient(size, form, dtype):
    compare(FORMS[form], draw(*size, dtype), TOLERANCE[dtype])


@pytest.mark.parametrize("length", [1, 2, 3, 7, 32, 33, 100])
def test_states_in_pairs_are_those_one_by_one(length):
    decays = torch.rand(2, 3, length, 4, 5, dtype=torch.float64)
    entering = torch.randn(2, 3, length, 4, 5, dtype=torch.float64)
    in_pairs = states_in_pairs(decays, entering)
    torch.testing.assert_close(in_pairs, states_one_by_one(decays, entering.clone()))


def test_chunked_form_of_other_devices_equals_the_reference(monkeypatch):
    # the states in pairs, which a CPU does not use
    module = sys.modules[selective_scan_chunked.__module__]
    monkeypatch.setattr(module, "states_one_by_one", states_in_pairs)
    compare(selective_scan_chunked, draw(2, 3, 70, 20, 4), TOLERANCE[torch.float32])


@pytest.mark.parametrize("form", FORMS)
def test_25600_tokens_equal_the_reference(form):
    inputs = draw(1, 1, 25600, 4, 2, scale=0.1)
    with torch.no_grad():
        expected = selective_scan_reference(*(tensor.double() for tensor in inputs))
        assert relative_error(FORMS[form](*inputs), expected) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_25600_tokens_equal_the_reference_in_every_gradient(form):
    # rates near zero remember thousands of tokens: the float32 reference is off by 3e-5 itself
    compare(FORMS[form], draw(1, 1, 25600, 20, 16, scale=0.1), 1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("steps", [0.0, 1e-7, 1e4], ids=["frozen", "almost frozen", "forgetful"])
def test_decays_of_any_strength(form, steps):
    inputs = draw(1, 2, 70, 66, 4)
    # the product of step and rate reaches -1e4, the input of the state stays of size one
    inputs[1] = torch.full_like(inputs[1], min(steps, 1.0))
    inputs[2] = -max(steps, 1.0) * torch.ones_like(inputs[2])
    compare(FORMS[form], inputs, TOLERANCE[torch.float32])


@pytest.mark.parametrize("form", FORMS)
def test_decays_of_very_different_strength_meet_in_one_sequence(form):
    inputs = draw(1, 1, 100, 66, 4)
    inputs[1] = 10 ** (8 * torch.rand_like(inputs[1]) - 5)
    compare(FORMS[form], inputs, TOLERANCE[torch.float32])


@pytest.mark.parametrize("form", ["chunked", "traceable", "reference"])
def test_gradients_pass_gradcheck(form):
    scan = {**FORMS, "reference": selective_scan_reference}[form]
    inputs = [tensor.requires_grad_() for tensor in draw(2, 2, 5, 3, 2, torch.float64)]
    assert torch.autograd.gradcheck(scan, inputs)


@pytest.mark.parametrize("form", ["kernel", "chunked"])
@pytest.mark.parametrize("index", range(6), ids=NAMES[1:])
def test_a_single_input_may_ask_for_its_gradient(form, index):
    inputs = draw(1, 2, 40, 6, 3)
    expected = with_gradients(selective_scan_reference, inputs, torch.ones(1, 2, 40, 6))
    inputs[index].requires_grad_()
    FORMS[form](*inputs).sum().backward()
    assert relative_error(inputs[index].grad, expected[index + 1].double()) < 1e-5
    assert all(tensor.grad is None for i, tensor in enumerate(inputs) if i != index)


@pytest.mark.parametrize("form", FORMS)
def test_layout_of_the_memory_does_not_matter(form):
    inputs = draw(2, 2, 12, 6, 3)
    strided = [torch.stack((t, -t), dim=-1)[..., 0] for t in inputs]
    turned = [t.transpose(0, -1).contiguous().transpose(0, -1) for t in inputs]
    cotangent = torch.randn(2, 2, 12, 6)
    expected = with_gradients(FORMS[form], inputs, cotangent)
    for others in (strided, turned):
        assert not any(tensor.is_contiguous() for tensor in others)
        leaves = [tensor.detach().requires_grad_() for tensor in others]
        output = FORMS[form](*leaves)
        # a gradient that is itself not contiguous
        turned_cotangent = cotangent.transpose(2, 3).contiguous().transpose(2, 3)
        gradients = torch.autograd.grad(output, leaves, turned_cotangent)
        for mine, theirs in zip((output, *gradients), expected, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("form", FORMS)
def test_a_batch_of_none(form):
    inputs = [tensor.requires_grad_() for tensor in draw(0, 2, 5, 3, 2)]
    output = FORMS[form](*inputs)
    assert output.shape == (0, 2, 5, 3)
    gradients = torch.autograd.grad(output.sum(), inputs)
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("form", ["kernel", "chunked", "reference"])
@pytest.mark.parametrize("index", range(6), ids=NAMES[1:])
def test_not_a_number_is_not_hidden(form, index):
    inputs = draw(1, 1, 40, 3, 2)
    inputs[index].view(-1)[0] = math.nan
    assert {**FORMS, "reference": selective_scan_reference}[form](*inputs).isnan().any()


def test_two_threads_at_once():
    inputs = draw(2, 4, 200, 70, 16)
    cotangent = torch.randn(2, 4, 200, 70)
    expected = with_gradients(selective_scan, inputs, cotangent)
    results, threads = {}, torch.get_num_threads()

    def work(name):
        for _ in range(5):
            results[name] = with_gradients(selective_scan, inputs, cotangent)

    # more threads than the one that tests run with, so that the workers are shared
    torch.set_num_threads(3)
    try:
        workers = [threading.Thread(target=work, args=(name,)) for name in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
    finally:
        torch.set_num_threads(threads)
    assert sorted(results) == [0, 1]
    for result in results.values():
        # bit by bit: the order of sums does not depend on the number of threads
        assert all(torch.equal(a, b) for a, b in zip(result, expected, strict=True))
