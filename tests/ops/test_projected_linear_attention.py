"""Linear attention from a projection: the operator against the plain form, inside PyTorch."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlla.ops import (
    linear_attention_reference,
    projected_linear_attention,
    projected_linear_attention_plain,
    use_fast_paths,
)
from mlla.ops.linear_attention import by_loops, by_samples, operator, projected
from run_python import run_python

SIZES = [(1, 1), (1, 7), (7, 28), (20, 80), (5, 9)]
# largest allowed |ours - plain| / max(1, max |plain|), plain in float64
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 8e-3,
    torch.float16: 1e-3,
}


def draw(height, width, channels=16, batch=2, dtype=torch.float64):
    query_key = torch.randn(batch, height, width, 2 * channels)
    return [tensor.to(dtype) for tensor in (query_key, torch.randn(batch, height, width, channels))]


def with_gradients(attention, inputs, cotangent, **options):
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = attention(*leaves, **options)
    return [output, *torch.autograd.grad(output, leaves, cotangent.to(output.dtype))]


def largest_errors(ours, expected):
    return [
        ((mine.double() - theirs).abs().max() / theirs.abs().max().clamp(min=1)).item()
        for mine, theirs in zip(ours, expected, strict=True)
    ]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
# heads of 32 and 64 channels go through compiled loops in float32 and bfloat16
@pytest.mark.parametrize("channels", [16, 64, 128])
def test_operator_equals_plain_form_in_output_and_gradients(size, dtype, channels):
    inputs = draw(*size, channels, dtype=dtype)
    cotangent = torch.randn_like(inputs[1])
    ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    exact = [tensor.double() for tensor in inputs]
    expected = with_gradients(
        projected_linear_attention_plain, exact, cotangent.double(), num_heads=2
    )
    assert all(tensor.dtype == dtype for tensor in ours)
    assert max(largest_errors(ours, expected)) <= TOLERANCE[dtype]


def test_plain_form_is_the_reference_with_elu_plus_one():
    query_key, value = draw(4, 6)
    positive = torch.where(query_key > 0, query_key + 1, query_key.exp())
    expected = linear_attention_reference(*positive.chunk(2, dim=-1), value, num_heads=4)
    torch.testing.assert_close(
        projected_linear_attention_plain(query_key, value, num_heads=4), expected
    )


@pytest.mark.parametrize("num_heads", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("eps", [1e-6, 0.5])
def test_heads_of_any_width_and_eps_agree(num_heads, eps):
    inputs = draw(3, 5, channels=12)
    cotangent = torch.randn_like(inputs[1])
    options = {"num_heads": num_heads, "eps": eps}
    ours = with_gradients(projected_linear_attention, inputs, cotangent, **options)
    expected = with_gradients(projected_linear_attention_plain, inputs, cotangent, **options)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_samples_in_work_do_not_change_the_result_of_loops(samples, monkeypatch):
    inputs = draw(3, 4, 64, batch=5, dtype=torch.float32)
    cotangent = torch.randn_like(inputs[1])
    expected = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    monkeypatch.setattr(by_loops, "_PART_ELEMENTS", samples * 3 * 4 * 64)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_samples_in_work_do_not_change_the_result(samples, monkeypatch):
    inputs = draw(3, 4, batch=5)
    cotangent = torch.randn_like(inputs[1])
    expected = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    monkeypatch.setattr(by_samples, "_CHUNK_ELEMENTS", samples * 3 * 4 * 16)
    ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize(("channels", "dtype"), [(16, torch.float64), (64, torch.float32)])
def test_layout_of_the_memory_does_not_matter(channels, dtype):
    inputs = draw(4, 6, channels, dtype=dtype)
    cotangent = torch.randn_like(inputs[1])
    expected = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    for layout in (lambda t: t.mT.contiguous().mT, lambda t: torch.stack((t, -t), -1)[..., 0]):
        others = [layout(tensor) for tensor in inputs]
        assert not any(tensor.is_contiguous() for tensor in others)
        ours = with_gradients(projected_linear_attention, others, layout(cotangent), num_heads=2)
        torch.testing.assert_close(ours, expected)


def test_gradients_pass_gradcheck():
    inputs = [tensor.requires_grad_() for tensor in draw(2, 3, channels=8)]
    assert torch.autograd.gradcheck(
        lambda *tensors: projected_linear_attention(*tensors, num_heads=2), inputs
    )


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_does_not_reach_the_sums(dtype, channels):
    inputs = [10 * tensor for tensor in draw(8, 12, channels, dtype=torch.float32)]
    cotangent = torch.randn_like(inputs[1])
    expected = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    with torch.autocast("cpu", dtype=dtype):
        ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ours, expected, strict=True))


def test_projection_in_half_precision_beside_values_in_float32():
    query_key, value = draw(6, 7, dtype=torch.float32)
    inputs = [query_key.bfloat16(), value]
    cotangent = torch.randn_like(value)
    ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    expected = with_gradients(projected_linear_attention_plain, inputs, cotangent, num_heads=2)
    assert [tensor.dtype for tensor in ours] == [torch.float32, torch.bfloat16, torch.float32]
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("channels", [16, 64])
def test_inputs_of_any_scale_stay_finite(scale, dtype, channels):
    inputs = [scale * tensor for tensor in draw(16, 20, channels, dtype=torch.float32)]
    inputs = [tensor.to(dtype) for tensor in inputs]
    cotangent = torch.full_like(inputs[1], 1e-3)
    ours = with_gradients(projected_linear_attention, inputs, cotangent, num_heads=2)
    assert all(tensor.isfinite().all() for tensor in ours)


def test_backward_keeps_the_arguments_and_two_small_means():
    query_key, value = (tensor.requires_grad_() for tensor in draw(8, 8))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        projected_linear_attention(query_key, value, num_heads=4)
    sizes = sorted(tensor.numel() for tensor in kept)
    assert sizes == [2 * 16, 2 * 16 * 4, value.numel(), query_key.numel()]


@pytest.mark.parametrize("channels", [16, 64])
def test_operators_are_registered_as_pytorch_asks(channels):
    query_key, value = draw(3, 4, channels, dtype=torch.float32)
    _, *means = operator.attend(query_key, value, 2, 1e-6)
    inputs = (query_key.requires_grad_(), value.requires_grad_(), 2, 1e-6)
    torch.library.opcheck(operator.attend, inputs)
    rest = [tensor.detach() for tensor in (value, query_key, value)]
    torch.library.opcheck(operator.attend_backward, (*rest, *means, 1e-6))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_operations_are_counted_as_those_of_the_plain_form(device):
    counts = []
    for attention in (projected_linear_attention, projected_linear_attention_plain):
        inputs = [tensor.to(device).requires_grad_() for tensor in draw(20, 20)]
        with FlopCounterMode(display=False) as counter:
            attention(*inputs, num_heads=2).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] == 3 * 2 * (2 * 400 * 16) * (2 * 8 + 1)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_graph_break(dynamic):
    def attend(*inputs):
        return projected_linear_attention(*inputs, num_heads=2)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for width in (5, 6):
        inputs = draw(4, width)
        cotangent = torch.randn_like(inputs[1])
        ours = with_gradients(compiled, inputs, cotangent)
        torch.testing.assert_close(ours, with_gradients(attend, inputs, cotangent))


def test_traces_and_exports_hold_plain_operations():
    class Attend(torch.nn.Module):
        def forward(self, query_key, value):
            return projected_linear_attention(query_key, value, num_heads=2)

    inputs = tuple(draw(4, 6, dtype=torch.float32))
    traced = torch.jit.trace(Attend(), inputs)
    exported = torch.export.export(Attend(), inputs)
    assert not any("mlla::" in node.kind() for node in traced.inlined_graph.nodes())
    assert not any("mlla" in str(node.target) for node in exported.graph.nodes)


@pytest.fixture
def _fast_paths_off():
    use_fast_paths(False)
    yield
    use_fast_paths(True)


@pytest.mark.usefixtures("_fast_paths_off")
def test_fast_paths_can_be_turned_off(monkeypatch):
    monkeypatch.delattr(projected, "attend")
    assert projected_linear_attention(*draw(3, 3), num_heads=2).shape == (2, 3, 3, 16)


@pytest.mark.parametrize(("setting", "enabled"), [("0", "False"), ("1", "True"), ("", "True")])
def test_environment_turns_fast_paths_off(setting, enabled):
    code = "from mlla.ops import fast_paths_enabled; print(fast_paths_enabled())"
    assert run_python(code, MLLA_FAST_PATHS=setting) == [enabled]


@pytest.mark.parametrize(
    "attention", [projected_linear_attention, projected_linear_attention_plain]
)
@pytest.mark.parametrize(
    ("shapes", "num_heads", "message"),
    [
        ([(1, 3, 4, 8), (1, 3, 4, 8)], 2, r"query_key has shape \(1, 3, 4, 8\) but value"),
        ([(1, 0, 4, 16), (1, 0, 4, 8)], 2, "has no token: H=0, W=4"),
        ([(1, 3, 4, 16), (1, 3, 4, 8)], 3, "num_heads=3 does not divide the width C=8"),
        ([(1, 3, 4, 16), (1, 3, 4, 8)], 0, "num_heads=0 does not divide the width C=8"),
        ([(1, 3, 4, 12), (1, 3, 4, 6)], 2, "channels divisible by 4.*got C=6"),
        ([(1, 12, 16), (1, 12, 8)], 2, r"must be a grid \(B, H, W, C\), got shape"),
    ],
)
def test_errors_name_the_argument_and_its_value(attention, shapes, num_heads, message):
    with pytest.raises(ValueError, match=message):
        attention(*(torch.ones(shape) for shape in shapes), num_heads=num_heads)


def test_devices_must_agree():
    query_key, value = draw(3, 4)
    with pytest.raises(ValueError, match="query_key is on meta but value on cpu; move both"):
        projected_linear_attention(query_key.to("meta"), value, num_heads=2)
