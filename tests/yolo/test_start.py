"""Initial networks of arms: equal where they share a layer, counted by comparing tensors."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import ultralytics
from small_rtdetr import small_checkpoint, small_file
from torch import nn
from ultralytics.nn.modules import Conv

from mlla.yolo import RTDETR, YOLO, plug
from mlla.yolo.start import build_start, refuse_equal_networks

StockCheckpoint = Callable[[str], Path]
NUM_CLASSES = 3
# the width of the class branch of Detect depends on the number of classes: three times two
# convolutions with norms and one without, of which only the counters of batches fit another number
TENSORS_OF_YOLOV8N, CLASS_TENSORS = 355, 3 * (2 * 5 + 2)


@dataclass(frozen=True)
class Design:
    """As the arms of a study are, which this floor does not know."""

    name: str
    model: str
    block: str | None = None
    at: str | int | list[int] | None = None
    gate: str | None = None
    kind: str = "variant"
    python_path: tuple[str, ...] = ()


BASELINE = Design("baseline", "yolov8n.yaml", kind="baseline")
MLLA = Design("mlla", "yolov8n.yaml", "mlla", "neck", "zero")


def start(
    arm: Design, baseline: Design = BASELINE, seed: int = 0, pretrained: Path | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, int]]:
    model, counts = build_start(
        arm, baseline, seed=seed, num_classes=NUM_CLASSES, pretrained=pretrained
    )
    return model.model.state_dict(), counts


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(tensor, b[name]) for name, tensor in a.items())


# -- the baseline ------------------------------------------------------------------------------


def test_a_start_is_a_matter_of_the_seed_alone() -> None:
    first, _ = start(MLLA, seed=1)
    torch.manual_seed(5)
    random.seed(5)
    again, _ = start(MLLA, seed=1)
    other, _ = start(MLLA, seed=2)
    assert equal(first, again)
    differ = [n for n, tensor in first.items() if not torch.equal(tensor, other[n])]
    # of convolutions and linear layers; norms start as ones and zeros whatever the seed
    assert sum(name.endswith("conv.weight") for name in differ) > 50


def test_the_random_numbers_of_the_caller_stay_as_they_were() -> None:
    def draw() -> list[object]:
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    def seed() -> None:
        random.seed(4)
        np.random.seed(4)
        torch.manual_seed(4)

    seed()
    expected = draw()
    seed()
    build_start(MLLA, BASELINE, seed=0, num_classes=NUM_CLASSES)
    refuse_equal_networks([BASELINE, MLLA], NUM_CLASSES)
    assert draw() == expected


def test_the_baseline_is_what_ultralytics_builds_for_the_classes() -> None:
    model, counts = build_start(BASELINE, BASELINE, seed=0, num_classes=NUM_CLASSES)
    stock = ultralytics.nn.tasks.DetectionModel("yolov8n.yaml", nc=NUM_CLASSES, verbose=False)
    shapes = [{n: t.shape for n, t in m.state_dict().items()} for m in (model.model, stock)]
    assert shapes[0] == shapes[1]
    assert counts == {
        "parameters": sum(parameter.numel() for parameter in stock.parameters()),
        "tensors": TENSORS_OF_YOLOV8N,
        "shared_with_baseline": TENSORS_OF_YOLOV8N,
        "baseline_tensors": TENSORS_OF_YOLOV8N,
        "pretrained_kept": 0,
        "pretrained_tensors": 0,
    }


# -- what is shared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "shared"),
    [
        (MLLA, 355),
        (replace(MLLA, at="p5"), 355),
        (replace(MLLA, at=[4, 6, 9], gate="none"), 355),
        (replace(MLLA, block="conv_like_mlla"), 355),
        (replace(MLLA, block="conv_like_multiscale_attention", at=15), 355),
        (replace(MLLA, block="identity", kind="identity"), 355),
        (replace(MLLA, block="conv_like:yolov8n-mlla.yaml"), 355),
        (Design("yaml", "yolov8n-mlla.yaml"), 355),
        # four C2f stages keep their outer convolutions: those of docs/yolo.md
        (Design("c2f", "yolov8n-c2f-mlla.yaml"), 283),
    ],
)
def test_every_layer_of_the_baseline_is_shared(arm: Design, shared: int) -> None:
    state, counts = start(arm, seed=3)
    baseline, _ = start(BASELINE, seed=3)
    assert counts["shared_with_baseline"] == shared
    assert counts["baseline_tensors"] == len(baseline) == TENSORS_OF_YOLOV8N
    assert counts["tensors"] == len(state)
    # by value: any tensor of the baseline with random numbers in it is in the arm
    drawn = [t for n, t in baseline.items() if n.endswith("conv.weight")]
    found = [sum(torch.equal(t, other) for other in state.values()) for t in drawn]
    assert sum(number > 0 for number in found) >= len(drawn) * shared // TENSORS_OF_YOLOV8N - 6


def test_a_plugged_arm_computes_what_the_baseline_does() -> None:
    x = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    answers = []
    for arm in (
        BASELINE,
        MLLA,
        replace(MLLA, block="conv_like_mlla"),
        Design("", "yolov8n-mlla.yaml"),
    ):
        model, _ = build_start(arm, BASELINE, seed=0, num_classes=NUM_CLASSES)
        with torch.no_grad():
            answers.append(model.model.eval()(x)[0])
    assert all(torch.equal(answer, answers[0]) for answer in answers)


def test_the_identity_trains_bit_for_bit_like_the_baseline(
    dataset: Callable[[str], Path], train_arguments: Callable[..., dict[str, object]]
) -> None:
    trained = []
    for arm in (BASELINE, replace(MLLA, block="identity", kind="identity")):
        model, _ = build_start(arm, BASELINE, seed=0, num_classes=2)
        model.train(data=str(dataset("detect")), **train_arguments(optimizer="AdamW"))
        # two steps, the clipping of gradients and the moving average of weights are in these
        trained.append(list(YOLO("run/weights/last.pt").model.state_dict().values()))
    assert all(torch.equal(a, b) for a, b in zip(*trained, strict=True))
    start, _ = build_start(BASELINE, BASELINE, seed=0, num_classes=2)
    moved = zip(trained[0], start.model.half().state_dict().values(), strict=True)
    assert not all(torch.equal(a, b.float()) for a, b in moved)


def test_a_tensor_that_differs_is_not_counted(stock_checkpoint: StockCheckpoint) -> None:
    # the arm is a checkpoint with weights of its own, all of them moved
    own = Design("own", str(stock_checkpoint("yolov8n")))
    state, counts = start(own)
    assert counts["pretrained_kept"] == TENSORS_OF_YOLOV8N - CLASS_TENSORS
    baseline, _ = start(BASELINE)
    expected = sum(torch.equal(tensor, baseline[name]) for name, tensor in state.items())
    assert counts["shared_with_baseline"] == expected
    # class branch and counters of batches
    assert CLASS_TENSORS < expected < 120


def test_arms_of_rt_detr_share_all_of_it(private_folder: Path) -> None:
    baseline = Design("baseline", str(small_file(private_folder, "rtdetr-l")), kind="baseline")
    for block, at in (("mlla", "neck"), ("conv_like_mlla", "p5"), ("identity", "neck")):
        arm = replace(baseline, name=block, block=block, at=at, gate="zero")
        model, counts = build_start(arm, baseline, seed=0, num_classes=NUM_CLASSES)
        assert isinstance(model, RTDETR)
        assert counts["shared_with_baseline"] == counts["baseline_tensors"] == 485


def test_a_block_of_the_user_is_found_by_its_folder(private_folder: Path) -> None:
    folder = private_folder / "blocks"
    folder.mkdir()
    (folder / "start_test_gate.py").write_text(
        "from torch import nn\n\n\nclass Gate(nn.Conv2d):\n"
        "    def __init__(self, width):\n        super().__init__(width, width, 3, padding=1)\n"
    )
    arm = Design(
        "gate", "yolov8n.yaml", "start_test_gate:Gate", "p5", "zero", "variant", (str(folder),)
    )
    state, counts = start(arm)
    assert state["model.10.block.weight"].shape == (256, 256, 3, 3)
    assert counts["shared_with_baseline"] == TENSORS_OF_YOLOV8N


# -- pretrained weights ------------------------------------------------------------------------


def test_pretrained_weights_reach_every_arm(stock_checkpoint: StockCheckpoint) -> None:
    file = stock_checkpoint("yolov8n")
    stored = YOLO(file).model.state_dict()
    for arm in (BASELINE, MLLA, Design("yaml", "yolov8n-mlla.yaml")):
        state, counts = start(arm, pretrained=file)
        assert counts["pretrained_kept"] == TENSORS_OF_YOLOV8N - CLASS_TENSORS
        assert counts["pretrained_tensors"] == len(stored) == TENSORS_OF_YOLOV8N
        assert counts["shared_with_baseline"] == TENSORS_OF_YOLOV8N
        assert torch.equal(state["model.4.cv1.conv.weight"], stored["model.4.cv1.conv.weight"])


def test_a_baseline_from_a_checkpoint_starts_from_it(stock_checkpoint: StockCheckpoint) -> None:
    file = str(stock_checkpoint("yolov8n"))
    baseline, arm = replace(BASELINE, model=file), replace(MLLA, model=file)
    expected, _ = start(BASELINE, pretrained=Path(file))
    found, counts = start(baseline, baseline)
    assert equal(found, expected)
    assert counts["pretrained_kept"] == TENSORS_OF_YOLOV8N - CLASS_TENSORS
    plugged, counts = start(arm, baseline)
    assert equal(plugged, start(MLLA, pretrained=Path(file))[0])
    assert counts["shared_with_baseline"] == TENSORS_OF_YOLOV8N


def test_rows_that_the_baseline_lacks_come_from_the_checkpoint(
    stock_checkpoint: StockCheckpoint, private_folder: Path
) -> None:
    whole = plug(stock_checkpoint("yolov8n"), at="p5")
    with torch.no_grad():
        whole.model.model[10].gate.fill_(0.5)
    whole.save("whole.pt")
    state, counts = start(replace(MLLA, at="p5"), pretrained=private_folder / "whole.pt")
    assert (state["model.10.gate"] == 0.5).all()
    assert counts["pretrained_kept"] == counts["pretrained_tensors"] - CLASS_TENSORS


def test_weights_given_twice_are_refused(stock_checkpoint: StockCheckpoint) -> None:
    file = stock_checkpoint("yolov8n")
    arm = Design("own", str(file))
    for baseline in (BASELINE, arm):
        with pytest.raises(ValueError, match=r"pretrained=.* is a checkpoint and brings its own"):
            start(arm, baseline, pretrained=file)


def test_missing_weights_are_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        start(BASELINE, pretrained=Path("nowhere.pt"))


def test_other_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"yolov8n-seg\.yaml is a model for the task 'segment'"):
        start(Design("seg", "yolov8n-seg.yaml"))


# -- equal networks ----------------------------------------------------------------------------


def test_different_networks_pass(private_folder: Path) -> None:
    identity = replace(MLLA, name="identity", block="identity", kind="identity")
    refuse_equal_networks(
        [
            *(BASELINE, MLLA, identity, replace(identity, name="again")),
            replace(MLLA, name="open", gate="none"),
            replace(MLLA, name="p5", at="p5"),
            replace(MLLA, name="convolution", block="conv_like_mlla", kind="convolution"),
            Design("yaml", "yolov8n-mlla.yaml"),
            replace(BASELINE, name="added", kind="added"),
        ],
        NUM_CLASSES,
    )


@pytest.mark.parametrize(
    "copy",
    [Design("copy", "yolov8n.yaml"), replace(MLLA, name="copy")],
)
def test_two_arms_of_one_network_are_refused(copy: Design) -> None:
    with pytest.raises(ValueError, match="and 'copy' build the same network"):
        refuse_equal_networks([BASELINE, MLLA, copy], NUM_CLASSES)


def test_an_activation_stays_with_its_model(private_folder: Path) -> None:
    text = (ultralytics.utils.ROOT / "cfg" / "models" / "v8" / "yolov8.yaml").read_text()
    Path("yolov8n-relu.yaml").write_text(f"activation: nn.ReLU()\n{text}")
    relu = Design("relu", "yolov8n-relu.yaml")
    for arm, activation in (
        (MLLA, nn.SiLU),
        (replace(relu, block="conv_like_mlla", at="p5"), nn.ReLU),
    ):
        model, _ = build_start(arm, relu, seed=0, num_classes=NUM_CLASSES)
        found = {type(module.act) for module in model.model.modules() if isinstance(module, Conv)}
        assert found - {nn.Identity} == {activation}
    assert isinstance(Conv.default_act, nn.SiLU)


def test_a_copied_file_is_the_same_network_and_an_activation_is_not(private_folder: Path) -> None:
    stock = ultralytics.utils.ROOT / "cfg" / "models" / "v8" / "yolov8.yaml"
    text = stock.read_text()
    Path("yolov8n-copy.yaml").write_text(text)
    Path("yolov8n-relu.yaml").write_text(f"activation: nn.ReLU()\n{text}")
    relu, copy = Design("relu", "yolov8n-relu.yaml"), Design("copy", "yolov8n-copy.yaml")
    refuse_equal_networks([BASELINE, relu], NUM_CLASSES)
    with pytest.raises(ValueError, match="'baseline' and 'copy' build the same network"):
        refuse_equal_networks([BASELINE, relu, copy], NUM_CLASSES)


def test_checkpoints_of_one_network_may_be_compared_if_their_weights_differ(
    stock_checkpoint: StockCheckpoint, private_folder: Path
) -> None:
    file = stock_checkpoint("yolov8n")
    Path("copy.pt").write_bytes(file.read_bytes())
    moved = YOLO(file)
    with torch.no_grad():
        next(moved.model.parameters()).add_(1)
    moved.save("moved.pt")
    baseline = Design("baseline", str(file), kind="baseline")
    refuse_equal_networks([baseline, Design("moved", "moved.pt")], NUM_CLASSES)
    refuse_equal_networks([BASELINE, Design("own", str(file))], NUM_CLASSES)
    for copy in (Design("copy", "copy.pt"), Design("copy", "yolov8n.yaml")):
        with pytest.raises(ValueError, match="'baseline' and 'copy' build the same network"):
            refuse_equal_networks([baseline, copy], NUM_CLASSES)


def test_small_rt_detr_checkpoints_build_too(private_folder: Path) -> None:
    file = str(small_checkpoint(private_folder, "rtdetr-l"))
    baseline = Design("baseline", file, kind="baseline")
    refuse_equal_networks([baseline, replace(baseline, name="mlla", block="mlla", at="p5")], 80)
