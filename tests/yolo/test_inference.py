"""Networks at work: fused, in half precision, with augmentation, channels last, and their cost."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mlla.yolo import YOLO
from mlla.yolo.rows import C2fMLLA, MLLABlocks

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
ARCHITECTURES = ["yolov8n-mlla", "yolov8n-c2f-mlla", "yolov8n-mlla-backbone", "yolov8n-mlla-tiny"]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> YOLO:
    torch.manual_seed(0)
    model = YOLO(request.param)
    # as after training: statistics of norms have moved
    with torch.no_grad():
        for name, tensor in model.model.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                tensor.add_(0.2 * torch.rand_like(tensor))
    return model


def predictions(network: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(x)[0]


def relative_error(output: Tensor, expected: Tensor) -> float:
    return ((output.float() - expected).abs().max() / expected.abs().max()).item()


def copy_of(model: YOLO) -> nn.Module:
    network = YOLO(model.cfg).model
    network.load_state_dict(model.model.state_dict())
    return network


def test_fusing_convolutions_and_norms_changes_nothing(model: YOLO) -> None:
    x = torch.rand(2, 3, 64, 96)
    expected = predictions(model.model, x)
    fused = copy_of(model).eval().fuse(verbose=False)
    assert not any(hasattr(module, "bn") for module in fused.modules())
    assert relative_error(predictions(fused, x), expected) < 1e-4


def test_channels_last_changes_nothing(model: YOLO) -> None:
    x = torch.rand(2, 3, 64, 96)
    expected = predictions(model.model, x)
    network = copy_of(model).to(memory_format=torch.channels_last)
    output = predictions(network, x.contiguous(memory_format=torch.channels_last))
    assert relative_error(output, expected) < 1e-5


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01)])
def test_autocast_stays_close(model: YOLO, dtype: torch.dtype, tolerance: float) -> None:
    x = torch.rand(2, 3, 64, 96)
    expected = predictions(model.model, x)
    with torch.autocast("cpu", dtype=dtype):
        output = predictions(model.model, x)
    assert output.isfinite().all()
    assert relative_error(output, expected) < tolerance


def test_half_precision_stays_close(model: YOLO) -> None:
    x = torch.rand(2, 3, 64, 96)
    expected = predictions(model.model, x)
    output = predictions(copy_of(model).half(), x.half())
    assert output.dtype == torch.float16
    assert relative_error(output, expected) < 0.02


def test_published_norms_keep_their_constants() -> None:
    # Ultralytics resets eps and momentum of every nn.BatchNorm2d, by exact type
    network = YOLO("yolov8n-mlla-tiny").model
    norms = [m for m in network.model[0].modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) > 4
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_a_network_can_be_printed(model: YOLO) -> None:
    assert "LinearAttention" in repr(model.model)


@pytest.mark.parametrize("augment", [False, True])
def test_prediction_with_and_without_augmentation(
    trained: Path, image: Path, augment: bool
) -> None:
    # flipped and at scales 0.83 and 0.67: odd maps such as 9x7
    best = YOLO(trained / "weights" / "best.pt")
    (result,) = best.predict(image, imgsz=(288, 224), augment=augment, conf=1e-4, verbose=False)
    assert result.orig_shape == (48, 64)
    assert np.isfinite(result.boxes.data.numpy()).all()


def test_validation_with_augmentation(
    trained: Path, dataset: Callable[[str], Path], private_folder: Path
) -> None:
    metrics = YOLO(trained / "weights" / "best.pt").val(
        data=str(dataset("detect")),
        imgsz=64,
        batch=2,
        augment=True,
        plots=False,
        project=str(private_folder),
    )
    assert 0 <= metrics.box.map50 <= 1


def test_tracking_gives_a_result_per_frame(trained: Path, image: Path) -> None:
    best = YOLO(trained / "weights" / "best.pt")
    for _ in range(2):
        (result,) = best.track(image, imgsz=64, persist=True, conf=0.01, verbose=False)
        assert result.orig_shape == (48, 64)


# -- cost --------------------------------------------------------------------------------------


def flops(network: nn.Module, x: Tensor) -> int:
    """Count with torch's own counter: convolutions and matrix products, two per multiply-add."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(x)
    return counter.get_total_flops()


def gflops_of(model: YOLO) -> float:
    return model.model.info(detailed=False, verbose=True, imgsz=640)[3]


def test_reported_gflops_are_those_of_torchs_counter(model: YOLO) -> None:
    reported = gflops_of(model)
    counted = flops(model.model, torch.zeros(1, 3, 640, 640)) / 1e9
    # the report adds norms and activations, and extrapolates from one stride
    assert 0.97 * counted < reported < 1.12 * counted


def test_our_blocks_are_in_the_reported_gflops() -> None:
    model = YOLO("yolov8n-mlla")
    stock = ultralytics.YOLO("yolov8n.yaml")
    blocks = sum(
        flops(MLLABlocks(width, width), torch.zeros(1, width, size, size))
        for width, size in ((64, 80), (128, 40), (256, 20))
    )
    # published for YOLOv8n: 8.7 before fusing
    assert gflops_of(stock) == pytest.approx(8.9, abs=0.3)
    assert gflops_of(model) - gflops_of(stock) == pytest.approx(blocks / 1e9, rel=0.15)


@pytest.mark.parametrize("row", [lambda: MLLABlocks(64, 64), lambda: C2fMLLA(64, 64)])
def test_the_cost_of_a_row_is_linear_in_its_tokens(row: Callable[[], nn.Module]) -> None:
    module = row()
    small = flops(module, torch.zeros(1, 64, 8, 12))
    assert flops(module, torch.zeros(1, 64, 32, 48)) == pytest.approx(16 * small, rel=1e-3)
