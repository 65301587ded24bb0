"""The loops that Numba compiles compute what PyTorch's operators do, in every size and type."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mlla.blocks import MLLABlock
from mlla.inference import loops
from mlla.inference.folding import frozen
from mlla.inference.forms import FORMS
from mlla.inference.packed import PackedDepthwise
from mlla.ops import linear_attention_reference, use_fast_paths
from mlla.ops.simd import grids, loading

SIZES = [(1, 1), (1, 5), (4, 1), (2, 2), (7, 9)]
DTYPES = [torch.float32, torch.bfloat16]
# the spacing of bfloat16 near 1 is 2^-7; results are rounded once
TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-7}


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def depthwise(channels: int, dtype: torch.dtype, bias: bool = True) -> PackedDepthwise:
    conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)
    return PackedDepthwise(frozen(conv)).to(dtype)


def convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    bias = None if conv.bias is None else conv.bias.float()
    maps = x.float().permute(0, 3, 1, 2)
    return functional.conv2d(
        maps, conv.weight.float(), bias, padding=1, groups=conv.groups
    ).permute(0, 2, 3, 1)


def assert_near(got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape
    error = float((got.float() - wanted).abs().max() / wanted.abs().max())
    assert error < TOLERANCE[got.dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", [32, 96])
def test_convolution_and_norm(size: tuple[int, int], channels: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, conv = torch.randn(2, *size, channels, dtype=dtype), depthwise(channels, dtype)
    result = torch.empty_like(x)
    wanted = convolved(conv, x)
    normal = functional.layer_norm(wanted, (channels,), eps=1e-5)
    got = loops.convolve_and_normalize(x, conv, 1e-5, result, slice(0, 100))
    assert_near(result, wanted)
    assert_near(got.view(x.shape), normal)
    # the last row of the first sample and the first of the second
    rows = slice(size[0] - 1, size[0] + 1)
    some = torch.full_like(x, 7)
    got = loops.convolve_and_normalize(x, conv, 1e-5, some, rows)
    assert_near(got[0], normal.flatten(0, 1)[rows])
    assert torch.equal(some.flatten(0, 1)[rows], result.flatten(0, 1)[rows])
    assert int((some == 7).all(dim=(2, 3)).sum()) == 2 * size[0] - 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_convolution_and_silu(size: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x, conv = 30 * torch.randn(2, *size, 96, dtype=dtype), depthwise(64, dtype, bias=False)
    for grid in (x[..., :64], x):
        wanted = functional.silu(convolved(conv, grid[..., :64]))
        assert_near(loops.convolve_with_silu(grid, conv), wanted)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("channels", "num_heads"), [(32, 1), (64, 2), (96, 3), (128, 2)])
def test_attention_and_gate(
    size: tuple[int, int], channels: int, num_heads: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    query_key = 4 * torch.randn(3, *size, 2 * channels).to(dtype)
    value, gate, other = torch.randn(3, 3, *size, channels).to(dtype)
    conv = depthwise(channels, dtype)
    query, key = (functional.elu(query_key.float()) + 1).chunk(2, dim=-1)
    attended = linear_attention_reference(query, key, value.float(), num_heads=num_heads)
    wanted = (attended + convolved(conv, value)) * functional.silu(gate.float())
    given = query_key.clone()
    for gates in (gate, torch.cat((other, gate), dim=-1)):
        got = loops.attend_and_gate(query_key, value, num_heads, conv, gates)
        assert_near(got, wanted)
    assert torch.equal(query_key, given)


def test_threads_do_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    form = FORMS[MLLABlock](MLLABlock(64, 2)).eval()
    x = torch.randn(2, 9, 11, 64)
    alone = form(x)
    shares = []

    def share(work: object, num_tasks: int, *, is_small: bool) -> None:
        assert not is_small
        shares.append(num_tasks)
        for row in reversed(range(num_tasks)):
            work((0, 1, row, row + 1, 1))  # type: ignore[operator]

    monkeypatch.setattr(grids, "_SMALL", 0)
    monkeypatch.setattr(grids, "share_tasks", share)
    assert torch.equal(form(x), alone)
    assert len(shares) == 6


def test_nan_stays_and_goes_no_further() -> None:
    conv = depthwise(32, torch.bfloat16)
    conv.weight.zero_()[:, 0, 1, 1] = 1
    conv.bias.zero_()
    x = torch.randn(1, 40, 40, 32).bfloat16()
    x[0, 3, 3, 5], x[0, 9, 9, 1] = torch.nan, torch.inf
    gate = (torch.randn(x.shape) * 1e3).bfloat16()
    got = loops.attend_and_gate(torch.zeros(1, 40, 40, 64).bfloat16(), x, 1, conv, gate)
    assert got.isnan().any()
    result = torch.empty_like(x)
    loops.convolve_and_normalize(x, conv, 1e-5, result, slice(0, 40))
    far = torch.ones(40, 40, dtype=torch.bool)
    far[2:5, 2:5] = far[8:11, 8:11] = False
    assert torch.equal(result[0][far], x[0][far])
    assert result[0, 3, 3, 5].isnan()


def test_bfloat16_is_rounded_as_pytorch_does() -> None:
    conv = depthwise(32, torch.float32)
    conv.weight.zero_()[:, 0, 1, 1] = 1
    conv.bias.zero_()
    x = torch.randn(1, 50, 50, 32) * torch.tensor([1e-39, 1e-3, 1, 3e37]).repeat(8)
    # exactly between two numbers
    x[0, 9, 9, 1:3] = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8])
    result = torch.empty_like(x, dtype=torch.bfloat16)
    loops.convolve_and_normalize(x, conv, 1e-5, result, slice(0, 50))
    assert torch.equal(result, x.bfloat16())


def test_other_widths_and_one_setting_take_ordinary_operators(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert loops.can_run(64, 32)
    assert not loops.can_run(64, 16)
    use_fast_paths(False)
    try:
        assert not loops.can_run(64, 32)
        plain_form = FORMS[MLLABlock](MLLABlock(32, 1)).eval()
        monkeypatch.setattr(loops, "load_loops", None)
        plain_form(torch.randn(1, 3, 3, 32))
    finally:
        use_fast_paths(True)


def test_without_numba_the_forms_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_module: str) -> None:
        raise ImportError("no numba here")

    loading.import_failure.cache_clear()
    monkeypatch.setattr(loading, "load_loops", fail)
    try:
        block = MLLABlock(32, 1).eval()
        x = torch.randn(2, 6, 5, 32)
        torch.testing.assert_close(FORMS[MLLABlock](block).eval()(x), block(x))
        assert loading.import_failure("mlla.inference.grid_loops") == "no numba here"
    finally:
        loading.import_failure.cache_clear()
