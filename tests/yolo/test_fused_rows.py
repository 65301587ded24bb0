"""Ultralytics' `fuse()` folds our rows; what is trained and stored stays what it was."""

import io
from copy import deepcopy
from typing import Any

import pytest
import torch
import ultralytics
from torch import Tensor, nn

import mlla
from mlla.inference.form import InferenceForm
from mlla.yolo import YOLO, plug
from mlla.yolo.fused_row import FusedRow

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
NAMES = ["yolov8n-c2f-mlla", "yolo11n-c2psa-mlla", "yolov8n-mlla-backbone"]


def network(name: str) -> Any:
    torch.manual_seed(0)
    model = YOLO(name).model.eval()
    for part in model.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.2, 0.2)
        if hasattr(part, "gate") and isinstance(part.gate, nn.Parameter):
            nn.init.uniform_(part.gate, 0.5, 1.0)
    return model


def raw(model: Any, image: Tensor) -> Tensor:
    with torch.no_grad():
        output = model(image)
    while not isinstance(output, Tensor):
        output = output[0]
    return output


def forms(model: nn.Module) -> int:
    rows = [row for row in model.modules() if isinstance(row, FusedRow)]
    inside = [row.folded for row in rows if row.folded is not None]
    return sum(isinstance(part, InferenceForm) for row in inside for part in row.modules())


@pytest.mark.parametrize("name", [*NAMES, "yolov8n-mlla"])
def test_fused_networks_compute_the_same(name: str) -> None:
    model = network(name)
    image = torch.rand(2, 3, 64, 96)
    wanted = raw(model, image)
    names = set(model.state_dict())
    model.fuse(verbose=False)
    assert forms(model)
    got = raw(model, image)
    assert (wanted - got).abs().max() < 1e-4 * wanted.abs().max()
    # only the batch norms of Ultralytics' own layers are gone
    assert {n for n in names if "block" in n} <= set(model.state_dict())


def test_a_plugged_network_is_folded_too() -> None:
    model = plug(YOLO("yolov8n.yaml"), at="p5").model.eval()
    image = torch.rand(1, 3, 64, 64)
    wanted = raw(model, image)
    model.fuse(verbose=False)
    assert forms(model)
    assert (raw(model, image) - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_files_and_copies_never_hold_folded_modules() -> None:
    model = network("yolov8n-c2f-mlla").fuse(verbose=False)
    assert forms(model)
    stored = io.BytesIO()
    torch.save({"model": model}, stored)
    assert b"mlla.inference" not in stored.getvalue()
    stored.seek(0)
    image = torch.rand(1, 3, 64, 64)
    for twin in (deepcopy(model), torch.load(stored, weights_only=False)["model"]):
        assert not forms(twin)
        assert (raw(twin, image) - raw(model, image)).abs().max() < 1e-3


def test_training_and_loading_drop_the_folds() -> None:
    row = network("yolov8n-c2f-mlla").fuse(verbose=False).model[6]
    assert row.folded is not None
    assert all(parameter.requires_grad is not None for parameter in row.parameters())
    row.train()
    assert row.folded is None
    row.eval().fuse()
    row.load_state_dict(row.state_dict())
    assert row.folded is None


def test_folds_follow_the_network_to_another_type() -> None:
    model = network("yolov8n-c2f-mlla").fuse(verbose=False)
    image = torch.rand(1, 3, 64, 64)
    wanted = raw(model, image)
    got = raw(model.bfloat16(), image.bfloat16())
    assert {p.dtype for p in model.model[6].folded.parameters()} == {torch.bfloat16}
    assert (wanted - got.float()).abs().mean() < 0.1 * wanted.abs().mean()


@pytest.mark.skipif(VERSION < (8, 4, 0), reason="counts norms to tell whether it was fused")
def test_a_copy_knows_that_it_has_to_be_fused_again() -> None:
    model = network("yolov8n-c2f-mlla").fuse(verbose=False)
    assert model.is_fused()
    twin = deepcopy(model)
    assert not twin.is_fused()
    assert forms(twin.fuse(verbose=False))


def test_optimize_fuses_a_network_of_ultralytics() -> None:
    model = network("yolov8n-c2f-mlla")
    fast = mlla.optimize(model)
    assert forms(fast)
    assert not forms(model)
    assert fast.optimizations.replaced["MLLABlock"] > 0
    image = torch.rand(1, 3, 64, 64)
    assert (raw(fast, image) - raw(model, image)).abs().max() < 1e-3


def test_a_yolo_is_told_to_fuse_its_network() -> None:
    with pytest.raises(ValueError, match=r"class YOLO holds a network.*call its fuse\(\)"):
        mlla.optimize(YOLO("yolov8n-c2f-mlla"))


def test_traces_of_fused_networks_keep_sizes_open() -> None:
    row = network("yolov8n-c2f-mlla").fuse(verbose=False).model[6]
    assert row.folded is not None
    width = row.cv1.conv.in_channels
    traced = torch.jit.trace(row, torch.rand(1, width, 8, 6))
    for size in [(3, 7), (1, 1), (12, 5)]:
        x = torch.rand(2, width, *size)
        torch.testing.assert_close(traced(x), row(x), rtol=1e-4, atol=1e-5)
