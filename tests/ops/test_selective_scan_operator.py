"""The scan inside PyTorch: custom operator, compile, export, threads, fallback, argument errors."""

import os
import sys
import warnings

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mlla.ops import selective_scan, selective_scan_reference
from mlla.ops.fast_paths import use_fast_paths
from mlla.ops.selective_scan import (
    active_form,
    kernel,
    selective_scan_chunked,
    selective_scan_traceable,
)
from run_python import run_python


class Scan(torch.nn.Module):
    def forward(self, *inputs):
        return selective_scan(*inputs)


def draw(batch=2, groups=2, length=40, width=10, states=3):
    return [
        *(torch.randn(batch, groups, length, width), torch.rand(batch, groups, length, width)),
        *(-3 * torch.rand(groups, width, states), torch.randn(batch, groups, length, states)),
        *(torch.randn(batch, groups, length, states), torch.randn(groups, width)),
    ]


@pytest.mark.parametrize("keep_states", [True, False])
def test_operators_are_registered_as_pytorch_asks(keep_states):
    inputs = [tensor.requires_grad_(keep_states) for tensor in draw()]
    torch.library.opcheck(kernel.scan, (*inputs, keep_states))
    inputs = [tensor.detach() for tensor in inputs]
    states = kernel.scan(*inputs, True)[1]
    torch.library.opcheck(kernel.scan_backward, (inputs[0], *inputs, states))


def test_gradients_without_states_are_refused():
    inputs = [tensor.requires_grad_() for tensor in draw()]
    output, states = kernel.scan(*inputs, False)
    assert states.numel() == 0
    with pytest.raises(RuntimeError, match="keep_states=False dropped what gradients need"):
        output.sum().backward()


def test_nothing_is_kept_where_no_gradient_is_asked_for(monkeypatch):
    kept = []
    scan = kernel.scan
    monkeypatch.setattr(kernel, "scan", lambda *inputs: kept.append(inputs[6]) or scan(*inputs))
    inputs = draw()
    selective_scan(*inputs)
    inputs[2].requires_grad_()
    selective_scan(*inputs)
    with torch.no_grad():
        selective_scan(*inputs)
    with torch.inference_mode():
        selective_scan(*inputs)
    assert kept == [False, True, False, False]


def test_operations_are_counted():
    inputs = [tensor.requires_grad_() for tensor in draw(2, 2, 40, 10, 3)]
    with FlopCounterMode(display=False) as counter:
        selective_scan(*inputs).sum().backward()
    channels = 2 * 2 * 40 * 10
    counts = {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}
    assert counts == {
        "mlla.selective_scan": channels * (7 * 3 + 3),
        "mlla.selective_scan_backward": channels * (19 * 3 + 9),
    }


def test_a_scan_is_one_operation_and_its_backward_pass_one_more():
    """Nothing around the kernel reads or copies its tensors."""
    seen = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    inputs = [tensor.requires_grad_() for tensor in draw()]
    cotangent = torch.randn(inputs[0].shape)
    with Recorder():
        torch.autograd.grad(selective_scan(*inputs), inputs, cotangent)
    computing = [name for name in seen if "detach" not in name]
    assert computing == ["mlla.selective_scan.default", "mlla.selective_scan_backward.default"]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_graph_break(dynamic):
    compiled = torch.compile(selective_scan, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for length in (40, 41):
        inputs = [tensor.requires_grad_() for tensor in draw(length=length)]
        ours, expected = compiled(*inputs), selective_scan(*inputs)
        torch.testing.assert_close(ours, expected)
        mine, theirs = (torch.autograd.grad(y.sum(), inputs) for y in (ours, expected))
        torch.testing.assert_close(mine, theirs)


@pytest.mark.slow
def test_compiles_to_machine_code():
    inputs = [tensor.requires_grad_() for tensor in draw()]
    compiled = torch.compile(lambda *inputs: 2 * selective_scan(*inputs).sin())
    ours, expected = compiled(*inputs), 2 * selective_scan(*inputs).sin()
    torch.testing.assert_close(ours, expected)
    mine, theirs = (torch.autograd.grad(y.sum(), inputs) for y in (ours, expected))
    torch.testing.assert_close(mine, theirs)


def test_traced_module_takes_any_size():
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(Scan(), tuple(draw(1, 2, 50, 6)), check_trace=False)
    for batch, length in [(1, 50), (2, 1), (3, 17), (1, 300)]:
        inputs = draw(batch, 2, length, 6)
        torch.testing.assert_close(traced(*inputs), selective_scan_reference(*inputs))


@pytest.mark.parametrize("slim", [False, True])
def test_onnx_file_takes_any_size(tmp_path, slim):
    onnxruntime = pytest.importorskip("onnxruntime")
    file = str(tmp_path / "scan.onnx")
    names = ["x", "delta", "A", "B", "C", "D"]
    axes = {name: {0: "batch", 2: "length"} for name in ("x", "delta", "B", "C", "y")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            *(Scan(), tuple(draw(1, 2, 50, 6)), file),
            input_names=names,
            output_names=["y"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    if slim:
        onnxslim = pytest.importorskip("onnxslim")
        onnxslim.slim(file, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch, length in [(1, 50), (2, 1), (1, 16), (3, 17), (1, 4099)]:
        inputs = draw(batch, 2, length, 6)
        feed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        (ours,) = session.run(None, feed)
        torch.testing.assert_close(torch.from_numpy(ours), selective_scan_reference(*inputs))


def test_more_tokens_than_levels_hold_are_an_error(monkeypatch):
    monkeypatch.setattr(sys.modules[selective_scan_traceable.__module__], "_LEVELS", 2)
    for batch in (1, 2):
        fitting = draw(batch, 2, 256)
        torch.testing.assert_close(
            selective_scan_traceable(*fitting), selective_scan_reference(*fitting)
        )
        for length in (257, 512, 600):
            with pytest.raises(RuntimeError, match="must match the size"):
                selective_scan_traceable(*draw(batch, 2, length))


DRAW = """
import torch
from mlla.ops import selective_scan, selective_scan_reference
torch.set_num_threads(2)
torch.manual_seed(0)
inputs = [torch.randn(2, 4, 200, 70), torch.rand(2, 4, 200, 70), -torch.rand(4, 70, 16),
          torch.randn(2, 4, 200, 16), torch.randn(2, 4, 200, 16), torch.ones(4, 70)]
"""


def test_importing_the_operator_does_not_import_numba():
    assert run_python("import sys, mlla.ops; print('numba' in sys.modules)") == ["False"]


def test_without_numba_plain_pytorch_takes_over_and_says_so():
    code = f"""
import sys, warnings
sys.modules["numba"] = None
{DRAW}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        ours, expected = selective_scan(*inputs), selective_scan_reference(*inputs)
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
from mlla.ops.selective_scan import active_form
print(len(caught), caught[0].category.__name__, "numba" in active_form())
"""
    assert run_python(code) == ["1", "RuntimeWarning", "True"]


def test_with_numba_the_kernel_is_active():
    assert active_form().startswith("CPU kernel")


def test_one_switch_turns_the_kernels_off(monkeypatch):
    monkeypatch.setattr(kernel, "scan", None)
    use_fast_paths(False)
    try:
        assert active_form().startswith("plain PyTorch, many times slower, because MLLA_FAST_PATHS")
        inputs = draw()
        torch.testing.assert_close(selective_scan(*inputs), selective_scan_chunked(*inputs))
    finally:
        use_fast_paths(True)
    with pytest.raises(TypeError):
        selective_scan(*inputs)


def test_other_devices_have_no_kernel():
    assert "no kernel for this device" in active_form("mps")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_doctor_says_so():
    assert "there is no GPU" in active_form("cuda")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_workers_of_its_own():
    code = f"""
import os
{DRAW}
before = selective_scan(*inputs).numpy()
child = os.fork()
# PyTorch's own operators may wait for threads that a forked process has not
is_equal = (selective_scan(*inputs).numpy() == before).all()
if child == 0:
    os._exit(0 if is_equal else 1)
print(os.waitpid(child, 0)[1], is_equal)
"""
    assert run_python(code) == ["0", "True"]


@pytest.mark.slow
def test_an_install_that_cannot_be_written_to_still_compiles(tmp_path):
    code = f"{DRAW}\ntorch.testing.assert_close(*2 * [selective_scan(*inputs)])\nprint('ran')"
    blocked = tmp_path / "file"
    blocked.touch()
    # a file where folders would have to be made, so that not even root can write
    code = f"""
import numba.core.caching as caching
for locator in caching.CacheImpl._locator_classes:
    locator.ensure_cache_path = lambda self: (_ for _ in ()).throw(OSError("read-only"))
{code}"""
    assert run_python(code, NUMBA_CACHE_DIR=str(blocked / "cache")) == ["ran"]


@pytest.mark.parametrize("scan", [selective_scan, selective_scan_chunked, selective_scan_traceable])
@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (2, 40, 10), r"x must be sequences \(B, G, L, D\), got shape \(2, 40, 10\)"),
        (0, (2, 2, 0, 10), "x has no token: L=0 must be at least 1"),
        (1, (2, 2, 41, 10), r"delta has shape \(2, 2, 41, 10\) but \(B, G, L, D\) is"),
        (2, (10, 3), r"A must be rates \(G, D, N\), got shape \(10, 3\)"),
        (2, (2, 9, 3), r"A has shape \(2, 9, 3\) but \(G, D, N\) is \(2, 10, 3\)"),
        (2, (1, 10, 3), r"A has shape \(1, 10, 3\) but \(G, D, N\) is \(2, 10, 3\)"),
        (3, (2, 2, 40, 4), r"B has shape \(2, 2, 40, 4\) but \(B, G, L, N\) is \(2, 2, 40, 3\)"),
        (4, (2, 1, 40, 3), r"C has shape \(2, 1, 40, 3\)"),
        (5, (10,), r"D has shape \(10,\) but \(G, D\) is \(2, 10\)"),
    ],
)
def test_errors_name_the_argument_and_its_value(scan, index, shape, message):
    inputs = draw()
    inputs[index] = torch.ones(shape)
    with pytest.raises(ValueError, match=message):
        scan(*inputs)


def test_devices_must_agree():
    inputs = draw()
    inputs[1] = inputs[1].to("meta")
    with pytest.raises(ValueError, match="delta is on meta but x on cpu; move both"):
        selective_scan(*inputs)
