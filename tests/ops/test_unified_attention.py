"""Unified attention: its forms agree, and with the right switches it is the operators we have."""

# ruff: noqa: N806 -- A, B, C, D as in the equations
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlla.ops import (
    ForgetGate,
    linear_attention,
    selective_scan,
    selective_scan_reference,
    unified_attention,
    unified_attention_recurrent,
)
from mlla.ops.selective_scan.chunked import states_in_pairs
from mlla.ops.unified_attention import chunked, forgetting

# one token; one row; one chunk and a little more of either causal form; nothing square
SIZES = [(1, 1), (1, 7), (5, 13), (7, 28)]
# largest allowed |fast - recurrent| / max(1, max |recurrent|), recurrence in float64
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
SWITCHES = ("causal", "input_gate", "forget_gate", "shortcut", "normalise", "rotary")
COMBINATIONS = [
    switches
    for values in itertools.product([False, True], repeat=len(SWITCHES))
    if (switches := dict(zip(SWITCHES, values, strict=True)))["causal"]
    or not switches["forget_gate"]
]


def draw(height, width, *, keys=8, channels=12, heads=2, batch=2, dtype=torch.float64):
    """Query, key and value, and tensors for every switch."""
    grid = (batch, height, width)
    tensors = {
        "query": torch.rand(*grid, keys) + 0.05,
        "key": torch.rand(*grid, keys) + 0.05,
        "value": torch.randn(*grid, channels),
        "input_gate": torch.rand(*grid, channels),
        "steps": torch.rand(*grid, channels),
        "rates": -3 * torch.rand(channels, keys // heads),
        "shortcut": torch.randn(channels),
    }
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def attend(attention, tensors, *, heads=2, **switches):
    options = {name: switches.get(name, False) for name in ("causal", "rotary")}
    for name in ("input_gate", "shortcut"):
        if switches.get(name):
            options[name] = tensors[name]
    if switches.get("forget_gate"):
        options["forget_gate"] = ForgetGate(tensors["steps"], tensors["rates"])
    grids = (tensors[name] for name in ("query", "key", "value"))
    return attention(*grids, num_heads=heads, normalise=switches.get("normalise", True), **options)


def with_gradients(attention, tensors, cotangent, **switches):
    leaves = {name: t.detach().clone().requires_grad_() for name, t in tensors.items()}
    output = attend(attention, leaves, **switches)
    gradients = torch.autograd.grad(
        output, leaves.values(), cotangent.to(output.dtype), allow_unused=True
    )
    return {"output": output.detach(), **dict(zip(leaves, gradients, strict=True))}


def relative_error(ours, expected):
    return ((ours.double() - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def compare(tensors, tolerance, **switches):
    cotangent = torch.randn(tensors["value"].shape)
    ours = with_gradients(unified_attention, tensors, cotangent, **switches)
    exact = {name: tensor.double() for name, tensor in tensors.items()}
    expected = with_gradients(unified_attention_recurrent, exact, cotangent, **switches)
    for name, theirs in expected.items():
        assert (ours[name] is None) == (theirs is None), name
        if theirs is not None:
            assert ours[name].dtype == tensors["value"].dtype, name
            assert relative_error(ours[name], theirs) <= tolerance, name


def in_loops(tensors, heads, causal):
    """Equations 11 and 12 of the paper with all switches on, one scalar at a time."""
    q, k, v, gate, steps = (
        tensors[name][0].flatten(0, 1).tolist()
        for name in ("query", "key", "value", "input_gate", "steps")
    )
    rates, shortcut = tensors["rates"].tolist(), tensors["shortcut"].tolist()
    states = len(q[0]) // heads
    output = torch.zeros(len(v), len(v[0]), dtype=torch.float64)
    for c in range(len(v[0])):
        first = c // (len(v[0]) // heads) * states
        state, total, outputs = [0.0] * states, [0.0] * states, []
        for i in range(len(v)):
            for n in range(states):
                decay = math.exp(steps[i][c] * rates[c][n]) if causal else 1.0
                state[n] = decay * state[n] + k[i][first + n] * gate[i][c] * v[i][c]
                total[n] += k[i][first + n]
            outputs.append((list(state), list(total), i + 1))
        for i in range(len(v)):
            now, seen, count = outputs[i] if causal else outputs[-1]
            read = sum(q[i][first + n] * now[n] for n in range(states))
            similarity = sum(q[i][first + n] * seen[n] for n in range(states))
            output[i, c] = read / (similarity + 1e-6 * count) + shortcut[c] * v[i][c]
    return output


@pytest.mark.parametrize("causal", [True, False])
def test_recurrence_is_the_formula_of_the_paper(causal):
    tensors = draw(2, 3, batch=1)
    switches = {"causal": causal, "forget_gate": causal, "input_gate": True, "shortcut": True}
    ours = attend(unified_attention_recurrent, tensors, **switches)
    assert relative_error(ours[0].flatten(0, 1), in_loops(tensors, 2, causal)) < 1e-13


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "switches", COMBINATIONS, ids=lambda s: "+".join(name for name in s if s[name]) or "none"
)
def test_forms_agree_in_output_and_every_gradient(switches, dtype):
    compare(draw(5, 13, dtype=dtype), TOLERANCE[dtype], **switches)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("forget_gate", [False, True])
def test_forms_agree_at_any_size(size, forget_gate, dtype):
    compare(draw(*size, dtype=dtype), TOLERANCE[dtype], causal=True, forget_gate=forget_gate)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_forms_agree_for_any_number_of_heads(heads, causal):
    tensors = draw(3, 5, heads=heads)
    compare(tensors, 1e-12, heads=heads, causal=causal, forget_gate=causal)


def test_states_in_pairs_serve_other_devices(monkeypatch):
    monkeypatch.setattr(forgetting, "states_one_by_one", states_in_pairs)
    compare(draw(5, 14), 1e-12, causal=True, forget_gate=True)


def test_many_short_chunks_are_one_long_one(monkeypatch):
    monkeypatch.setattr(forgetting, "_SHORTEST_CHUNK", 4)
    monkeypatch.setattr(forgetting, "_CHUNK_ELEMENTS", 1)
    monkeypatch.setattr(chunked, "CHUNK", 4)
    for forget_gate in (False, True):
        compare(draw(3, 7), 1e-12, causal=True, forget_gate=forget_gate)


@pytest.mark.parametrize("strength", [0.0, 1e-7, 1e4], ids=["frozen", "almost frozen", "forgetful"])
def test_decays_of_any_strength(strength):
    tensors = draw(5, 14, dtype=torch.float32)
    tensors["steps"] = torch.full_like(tensors["steps"], min(strength, 1.0))
    tensors["rates"] = -max(strength, 1.0) * torch.ones_like(tensors["rates"])
    compare(tensors, 1e-5, causal=True, forget_gate=True)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("scan", [selective_scan, selective_scan_reference])
def test_with_the_switches_of_mamba_it_is_the_selective_scan(scan, heads, dtype):
    height, width, channels, states = 5, 13, 6, 4
    x = torch.randn(2, heads, height * width, channels, dtype=dtype)
    delta, B, C = torch.rand_like(x), *torch.randn(2, *x.shape[:3], states, dtype=dtype)
    A = -torch.rand(heads, channels, states, dtype=dtype)
    D = torch.randn(heads, channels, dtype=dtype)
    leaves = [tensor.requires_grad_() for tensor in (x, delta, A, B, C, D)]

    def grid(tensor):
        return tensor.transpose(1, 2).reshape(2, height, width, -1)

    ours = unified_attention(
        *(grid(C), grid(B), grid(x)),
        num_heads=heads,
        causal=True,
        input_gate=grid(delta),
        forget_gate=ForgetGate(grid(delta), A.flatten(0, 1)),
        shortcut=D.flatten(),
        normalise=False,
    )
    theirs = grid(scan(*leaves))
    cotangent = torch.randn_like(theirs)
    results = [
        [output, *torch.autograd.grad(output, leaves, cotangent)] for output in (ours, theirs)
    ]
    for mine, expected in zip(*results, strict=True):
        assert relative_error(mine, expected.double()) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("rotary", [False, True])
def test_with_the_switches_of_mlla_it_is_linear_attention(heads, rotary, dtype):
    tensors = draw(7, 9, keys=8, channels=8, dtype=dtype)
    leaves = [tensors[name].requires_grad_() for name in ("query", "key", "value")]
    results = []
    for attention in (unified_attention, linear_attention):
        output = attention(*leaves, num_heads=heads, rotary=rotary, eps=1e-3)
        results.append([output, *torch.autograd.grad(output.square().sum(), leaves)])
    for mine, expected in zip(*results, strict=True):
        assert relative_error(mine, expected.double()) <= TOLERANCE[dtype]


@pytest.mark.parametrize("attention", [unified_attention, unified_attention_recurrent])
@pytest.mark.parametrize(
    "changed",
    [
        *({"causal": True}, {"input_gate": True}, {"shortcut": True}, {"normalise": False}),
        *({"rotary": True}, {"heads": 1}, {"causal": True, "forget_gate": True}),
    ],
    ids=str,
)
def test_every_switch_changes_the_output(attention, changed):
    tensors = draw(3, 5)
    before = {"causal": True} if "forget_gate" in changed else {}
    if changed.get("heads") == 1:
        tensors["rates"] = tensors["rates"].repeat(1, 2)
    one, other = attend(attention, tensors, **before), attend(attention, tensors, **changed)
    assert not torch.allclose(one, other, rtol=1e-3)


sides = st.integers(1, 6)


@given(st.integers(0, 2**32 - 1), sides, sides, st.booleans())
def test_no_token_sees_a_later_one(seed, height, width, forget_gate):
    torch.manual_seed(seed)
    tensors = draw(height, width, batch=1)
    switches = {"causal": True, "forget_gate": forget_gate, "input_gate": True}
    before = attend(unified_attention, tensors, **switches)
    seen = torch.randint(height * width, ()).item() + 1
    for name in ("query", "key", "value", "input_gate", "steps"):
        tensors[name].view(height * width, -1)[seen:] += 1
    after = attend(unified_attention, tensors, **switches)
    for grid in (before, after):
        assert grid.shape == tensors["value"].shape
    torch.testing.assert_close(
        after.view(height * width, -1)[:seen], before.view(height * width, -1)[:seen]
    )


@given(st.integers(0, 2**32 - 1), sides, sides)
def test_the_last_token_sees_the_same_in_both_forms(seed, height, width):
    torch.manual_seed(seed)
    tensors = draw(height, width)
    causal, parallel = (attend(unified_attention, tensors, causal=c) for c in (True, False))
    torch.testing.assert_close(causal[:, -1, -1], parallel[:, -1, -1])


@given(st.integers(0, 2**32 - 1), sides, sides, st.booleans())
def test_weights_average_ones_to_ones(seed, height, width, causal):
    torch.manual_seed(seed)
    tensors = draw(height, width)
    tensors["value"] = torch.ones_like(tensors["value"])
    attended = attend(unified_attention, tensors, causal=causal)
    torch.testing.assert_close(attended, tensors["value"], atol=1e-3, rtol=0)


@given(st.integers(0, 2**32 - 1), sides, sides)
def test_a_gate_that_forgets_nothing_is_none(seed, height, width):
    torch.manual_seed(seed)
    tensors = draw(height, width)
    tensors["steps"] = torch.zeros_like(tensors["steps"])
    one, other = (
        attend(unified_attention, tensors, causal=True, forget_gate=gate) for gate in (True, False)
    )
    torch.testing.assert_close(one, other)


@given(st.integers(0, 2**32 - 1), sides, sides)
def test_a_gate_that_forgets_everything_leaves_the_token_itself(seed, height, width):
    torch.manual_seed(seed)
    tensors = draw(height, width, heads=1)
    tensors["rates"] = torch.full_like(tensors["rates"], -1e4)
    tensors["steps"] = tensors["steps"] + 1
    switches = {"causal": True, "forget_gate": True, "normalise": False}
    attended = attend(unified_attention, tensors, heads=1, **switches)
    alone = (tensors["query"] * tensors["key"]).sum(-1, keepdim=True) * tensors["value"]
    torch.testing.assert_close(attended, alone)


@pytest.mark.parametrize("forget_gate", [False, True])
def test_gradients_pass_gradcheck(forget_gate):
    names, tensors = zip(*draw(2, 3, keys=4, channels=4, batch=1).items(), strict=True)
    inputs = [tensor.requires_grad_() for tensor in tensors]

    def run(*leaves):
        switches = {"causal": True, "forget_gate": forget_gate, "input_gate": True}
        return attend(unified_attention, dict(zip(names, leaves, strict=True)), **switches)

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("causal", [False, True])
def test_sums_of_half_precision_run_in_float32(dtype, causal):
    tensors = draw(20, 30, batch=1)
    # 600 terms of 100 x 100 overflow float16
    tensors["key"] *= 100
    tensors["value"] *= 100
    exact = {name: tensor.to(dtype).double() for name, tensor in tensors.items()}
    switches = {"causal": causal, "forget_gate": causal}
    expected = attend(unified_attention, exact, **switches)
    halves = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    with torch.autocast("cpu", dtype=dtype):
        ours = attend(unified_attention, halves, **switches)
    assert ours.dtype == dtype
    assert relative_error(ours, expected) <= {torch.bfloat16: 8e-3, torch.float16: 1e-3}[dtype]


def test_the_operator_keeps_the_rules_of_pytorch():
    tensors = draw(2, 3, batch=1, channels=8, dtype=torch.float64)
    parts = [tensors[name].view(1, 1, 6, 8) for name in ("query", "key", "value", "steps")]
    rates = -torch.rand(1, 8, 8, dtype=torch.float64)
    inputs = [part.clone().requires_grad_() for part in (*parts, rates)]
    # the last of its checks compiles, which takes long
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    operator = torch.ops.mlla.forgetting_attention.default
    results = torch.library.opcheck(operator, inputs, test_utils=checks)
    assert results == dict.fromkeys(checks, "SUCCESS")


@pytest.mark.parametrize("attention", [unified_attention, unified_attention_recurrent])
@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"query": (2, 12, 8)}, {}, r"query must be a grid \(B, H, W, C\), got shape \(2, 12, 8\)"),
        ({"value": (1, 0, 4, 8)}, {}, "value has no token: H=0, W=4"),
        ({"key": (1, 4, 3, 8)}, {}, r"key has shape \(1, 4, 3, 8\) but must have \(1, 3, 4, 8\)"),
        ({"query": (1, 3, 5, 8)}, {}, r"query has shape \(1, 3, 5, 8\) but must have"),
        ({}, {"num_heads": 3}, "num_heads=3 does not divide the width 8 of query"),
        ({"value": (1, 3, 4, 9)}, {}, "num_heads=2 does not divide the width 9 of value"),
        ({}, {"num_heads": 0}, "num_heads=0 does not divide"),
        ({}, {"input_gate": torch.ones(1, 3, 4, 1)}, r"input_gate has shape \(1, 3, 4, 1\)"),
        ({}, {"shortcut": torch.ones(4)}, r"shortcut has shape \(4,\) but must have \(8,\)"),
        (
            {},
            {"forget_gate": ForgetGate(torch.ones(1, 3, 4, 8), torch.ones(8, 4))},
            "forget_gate with causal=False.*pass causal=True",
        ),
        (
            {},
            {"causal": True, "forget_gate": ForgetGate(torch.ones(1, 3, 4, 8), torch.ones(8, 8))},
            r"forget_gate.rates has shape \(8, 8\) but must have \(8, 4\)",
        ),
        (
            {},
            {"causal": True, "forget_gate": ForgetGate(torch.ones(1, 3, 4, 1), torch.ones(8, 4))},
            r"forget_gate.steps has shape \(1, 3, 4, 1\)",
        ),
    ],
)
def test_errors_name_the_argument_and_its_value(attention, changed, options, message):
    grids = [torch.ones(changed.get(n, (1, 3, 4, 8))) for n in ("query", "key", "value")]
    with pytest.raises(ValueError, match=message):
        attention(*grids, **{"num_heads": 2, **options})
