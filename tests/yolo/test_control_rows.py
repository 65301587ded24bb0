"""The controls of a comparison: nothing, and plain convolutions of as many parameters."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import ultralytics
from hypothesis import given
from hypothesis import strategies as st
from small_rtdetr import outputs, small_checkpoint
from torch import nn
from torch.nn.functional import conv2d

from mlla.yolo import YOLO, plug
from mlla.yolo.control_rows import PlainConvolutions, match_parameters
from mlla.yolo.rows import INSERTABLE, Inserted

StockCheckpoint = Callable[[str], Path]
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
X = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
# per place: what 13 c^2 + 54 c of MLLA's block come to
MLLA_PARAMETERS = {width: 13 * width**2 + 54 * width for width in (64, 128, 256)}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def inserted(model: YOLO) -> list[Inserted]:
    return [row for row in model.model.model if isinstance(row, Inserted)]


# -- the block ---------------------------------------------------------------------------------


def conv_norm_silu(x: torch.Tensor, state: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    weight = state[f"{name}.conv.weight"]
    y = conv2d(x, weight, padding=weight.shape[-1] // 2)
    norm = [state[f"{name}.bn.{part}"] for part in ("weight", "bias", "running_mean")]
    scale, shift, mean = (part[:, None, None] for part in norm)
    variance = state[f"{name}.bn.running_var"][:, None, None]
    y = (y - mean) / (variance + 1e-5).sqrt() * scale + shift
    return y / (1 + (-y).exp())


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("arguments", [(5, 3), (7, 1, 1, 12), (3, 3, 4), (2, 1, 12), (3, 1, 2, 5)])
@pytest.mark.parametrize("size", [(1, 1), (7, 28)])
def test_it_computes_a_residual_pair_of_convolutions(
    arguments: tuple[int, ...], size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    module = PlainConvolutions(12, 12, *arguments).double().eval()
    state = module.state_dict()
    for name, tensor in state.items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point():
            tensor.normal_()
    x = torch.randn(2, 12, *size, dtype=torch.float64)
    # every part of the channels by itself; what is left over passes
    part_width = state["first.conv.weight"].shape[1]
    expected = x.clone()
    for first in range(0, 12 - part_width + 1, part_width):
        part = x[:, first : first + part_width]
        made = conv_norm_silu(conv_norm_silu(part, state, "first"), state, "second")
        expected[:, first : first + part_width] += made
    computed = module(x.contiguous(memory_format=memory_format))
    torch.testing.assert_close(computed, expected, rtol=1e-10, atol=1e-10)


def test_every_weight_gets_a_gradient() -> None:
    module = PlainConvolutions(8, 8, 5, 1, 2)
    module(torch.randn(2, 8, 7, 9)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 16, 4), "keep their width, but get 8 channels and are to make 16"),
        ((8, 8, 4, 3, 9), "8 channels do not hold num_parts=9 parts of part_width=None"),
        ((8, 8, 4, 3, 3, 3), "8 channels do not hold num_parts=3 parts of part_width=3"),
        ((8, 8), "got hidden=0; `mlla plug` finds the number of hidden channels"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the message is compared below)
        PlainConvolutions(*arguments)
    assert message in str(error.value)


# -- the match ---------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["mlla", "multiscale_attention"])
@pytest.mark.parametrize("width", [32, 64, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024])
def test_parameters_match_within_one_percent(block: str, width: int) -> None:
    wanted = count(INSERTABLE[block](width, width))
    found = count(PlainConvolutions(width, width, *match_parameters(wanted, width)))
    assert abs(found - wanted) <= 0.01 * wanted


@pytest.mark.parametrize("width", [64, 128, 256, 512])
def test_mlla_is_matched_by_two_3x3_convolutions_of_the_whole_map(width: int) -> None:
    form = match_parameters(13 * width**2 + 54 * width, width)
    assert form[1:] == (3, 1, width)


@pytest.mark.parametrize("width", [64, 128, 256])
def test_multiscale_attention_is_matched_exactly_by_convolutions_of_its_groups(width: int) -> None:
    # 10 c^2 + 4 c with c channels in each of 32 groups: a 3x3, a 1x1, and two norms of c channels
    group = width // 32
    assert match_parameters(10 * group**2 + 4 * group, width) == (group, 1, 32, group)


@pytest.mark.parametrize("width", [64, 128, 256])
def test_small_blocks_are_matched_without_inflating_their_channels(width: int) -> None:
    # squeeze and excitation, reduced by 16 and by 4
    for wanted in (width**2 // 8 + width // 16 + width, width**2 // 2 + width // 4 + width):
        hidden, _, num_parts, part = match_parameters(wanted, width)
        assert hidden <= 2 * part
        # nearly all channels are seen
        assert 0.9 * width <= num_parts * part <= width


@given(
    wanted=st.integers(min_value=1, max_value=2_000_000),
    width=st.sampled_from([16, 48, 64, 100, 256]),
)
def test_no_pair_of_whole_convolutions_is_much_closer(wanted: int, width: int) -> None:
    found = count(PlainConvolutions(width, width, *match_parameters(wanted, width)))
    # 3x3 to h channels and 3x3 back, with norms
    pairs = [18 * width * h + 2 * h + 2 * width for h in (1, *_around(wanted / (18 * width + 2)))]
    best = min(abs(pair - wanted) for pair in pairs)
    assert abs(found - wanted) <= max(best, 0.01 * wanted)


def _around(number: float) -> range:
    return range(max(1, int(number) - 2), int(number) + 3)


# -- plugged in --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("yolov8n", "conv_like_multiscale_attention"),
        *((name, "conv_like_mlla") for name in ("yolov8n", "yolo11n", "yolo12n", "yolo26n")),
    ],
)
def test_the_controls_fit_every_family(
    stock_checkpoint: StockCheckpoint, name: str, block: str
) -> None:
    if {"yolo12n": (8, 3, 78), "yolo26n": (8, 4, 0)}.get(name, (0,)) > VERSION:
        pytest.skip("this Ultralytics does not have the family yet")
    original = ultralytics.YOLO(stock_checkpoint(name))
    control = plug(stock_checkpoint(name), block)
    expected, found = outputs(original, X), outputs(control, X)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    imitated = plug(stock_checkpoint(name), block.removeprefix("conv_like_"))
    added, wanted = (count(m.model) - count(original.model) for m in (control, imitated))
    assert abs(added - wanted) <= 0.01 * wanted
    assert type(control.model.model[-1]) is type(original.model.model[-1])


def test_the_controls_fit_rt_detr(private_folder: Path) -> None:
    file = small_checkpoint(private_folder, "rtdetr-l")
    original = ultralytics.RTDETR(file)
    for block in ("identity", "conv_like_mlla", "conv_like:yolov8n"):
        control = plug(file, block)
        expected, found = outputs(original, X), outputs(control, X)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_identity_adds_no_tensor_at_all(stock_checkpoint: StockCheckpoint) -> None:
    original = ultralytics.YOLO(stock_checkpoint("yolov8n"))
    control = plug(stock_checkpoint("yolov8n"), "identity", at=[4, 9])
    assert [type(row.block) for row in inserted(control)] == [nn.Identity, nn.Identity]
    tensors = [
        [tensor.float() for tensor in model.model.state_dict().values()]
        for model in (original, control)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))
    found, expected = outputs(control, X), outputs(original, X)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_model_is_matched_by_the_parameters_it_has_more(
    stock_checkpoint: StockCheckpoint,
) -> None:
    control = plug(stock_checkpoint("yolov8n"), "conv_like:yolov8n-mlla")
    # that of three blocks with their gates
    extra = sum(MLLA_PARAMETERS.values()) + 64 + 128 + 256
    added = count(control.model) - count(ultralytics.YOLO(stock_checkpoint("yolov8n")).model)
    assert abs(added - extra) < 0.01 * extra
    assert all(row.block.num_parts == 1 for row in inserted(control))


def test_a_smaller_model_has_nothing_to_match() -> None:
    with pytest.raises(ValueError, match="yolov8n-c2f-mlla does not have more parameters than"):
        plug("yolov8n.yaml", "conv_like:yolov8n-c2f-mlla")


def test_the_hidden_width_stands_in_the_configuration(private_folder: Path) -> None:
    control = plug("yolov8n.yaml", "conv_like_mlla", at="p5")
    row = control.model.yaml["backbone"][-1]
    assert row == [9, 1, "Inserted", [256, 256, "conv_like_mlla", "zero", 188, 3, 1, 256]]
    rebuilt = type(control.model)(control.model.yaml, verbose=False)
    shapes = [{n: t.shape for n, t in m.state_dict().items()} for m in (rebuilt, control.model)]
    assert shapes[0] == shapes[1]


def test_fusing_for_inference_changes_nothing_but_rounding(
    stock_checkpoint: StockCheckpoint,
) -> None:
    control = plug(stock_checkpoint("yolov8n"), "conv_like_mlla", gate="none")
    before = outputs(control, X)[0]
    control.fuse()
    assert not hasattr(inserted(control)[0].block.first, "bn")
    torch.testing.assert_close(outputs(control, X)[0], before, rtol=1e-3, atol=1e-3)


def test_stock_ultralytics_reloads_the_controls(
    fresh_python: Callable[..., str], stock_checkpoint: StockCheckpoint, private_folder: Path
) -> None:
    for block in ("conv_like_mlla", "conv_like_multiscale_attention", "identity"):
        control = plug(stock_checkpoint("yolov8n"), block, at="p5", gate="none")
        control.save(private_folder / f"{block}.pt")
        np.save(private_folder / f"{block}.npy", outputs(YOLO(f"{block}.pt"), X)[0].numpy())
    fresh_python(
        "import numpy, torch\n"
        "from ultralytics import YOLO\n"
        "x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))\n"
        "for name in ('conv_like_mlla', 'conv_like_multiscale_attention', 'identity'):\n"
        "    with torch.no_grad():\n"
        "        output = YOLO(name + '.pt').model.float().eval()(x)[0]\n"
        "    assert torch.equal(output, torch.from_numpy(numpy.load(name + '.npy')))\n"
    )


@pytest.mark.parametrize("block", ["conv_like_mlla", "conv_like_multiscale_attention"])
def test_one_onnx_file_serves_every_size(block: str, private_folder: Path) -> None:
    torch.manual_seed(0)
    module = Inserted(
        64, block, "none", *match_parameters(580 if "scale" in block else 56704, 64)
    ).eval()
    if block.endswith("attention"):
        assert module.block.num_parts > 1
        assert module.block.passing > 0
    torch.onnx.export(
        module,
        (torch.randn(1, 64, 8, 12),),
        "block.onnx",
        input_names=["x"],
        dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}},
        opset_version=18,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession("block.onnx")
    for shape in ((1, 64, 8, 12), (2, 64, 7, 28), (3, 64, 1, 1)):
        x = torch.randn(shape)
        with torch.no_grad():
            expected = module(x).numpy()
        (found,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
