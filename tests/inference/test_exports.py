"""Compilers and exporters see ordinary operators of an optimized model, and keep sizes open."""

import warnings

import pytest
import torch
from torch import nn
from torch.export import Dim, export

import mlla

OTHER_SIZES = [(33, 57), (96, 71), (64, 32)]

# tracing is deprecated in PyTorch, and still what ONNX exports of detectors go through
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")


@pytest.fixture
def model() -> nn.Module:
    return mlla.optimize(mlla.MLLA(8, (1, 1), (1, 2), num_classes=5))


@torch.no_grad()
def test_export_keeps_height_and_width_open(model: nn.Module) -> None:
    sizes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    exported = export(model, (torch.randn(2, 3, 48, 64),), dynamic_shapes=(sizes,)).module()
    for size in OTHER_SIZES:
        image = torch.randn(3, 3, *size)
        torch.testing.assert_close(exported(image), model(image))


@torch.no_grad()
def test_compile_finds_one_graph_for_all_sizes(model: nn.Module) -> None:
    torch._dynamo.reset()
    graphs = []

    def count(graph: object, _: object) -> object:
        graphs.append(graph)
        return graph

    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=count)
    for size in OTHER_SIZES:
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(compiled(image), model(image))
    assert len(graphs) == 1


@torch.no_grad()
def test_trace_keeps_height_and_width_open_without_warnings(model: nn.Module) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(model, torch.randn(1, 3, 64, 96))
    for size in [*OTHER_SIZES, (1, 1)]:
        image = torch.randn(2, 3, *size)
        torch.testing.assert_close(traced(image), model(image))


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:You are using the legacy")
def test_onnx_keeps_height_and_width_open(model: nn.Module, tmp_path: object) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    path = f"{tmp_path}/model.onnx"
    torch.onnx.export(
        model,
        (torch.randn(1, 3, 64, 96),),
        path,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
        dynamo=False,
    )
    session = runtime.InferenceSession(path)
    for size in OTHER_SIZES:
        image = torch.randn(2, 3, *size)
        (got,) = session.run(None, {"image": image.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), model(image), rtol=1e-4, atol=1e-5)
