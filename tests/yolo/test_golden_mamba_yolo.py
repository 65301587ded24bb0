"""Mamba-YOLO against the stored outputs of the authors' code, and its published names."""

import pytest
import torch
from torch import Tensor

from golden import assert_golden, drawn, filled, golden_case, golden_shapes
from mlla.blocks import ODSSBlock, XSSBlock
from mlla.layers import MambaYOLODownsample, MambaYOLOSS2D, MambaYOLOStem
from mlla.yolo import YOLO
from mlla.yolo.mamba_yolo_names import load_mamba_yolo, rename_mamba_yolo

FILE = "mamba_yolo"
# where a part stands in a detector: behind this prefix of theirs, below this module of ours
PLACES = {
    "ss2d-16": ("model.0.op.", "model.0.blocks.0.scan.", lambda: MambaYOLOSS2D(16)),
    "vssblock-16-24": ("model.0.", "model.0.blocks.0.", lambda: ODSSBlock(16, 24)),
    "xssblock-24-16-n2": ("model.0.", "model.0.block.", lambda: XSSBlock(24, 16, 2)),
    "simplestem": ("model.0.", "model.0.stem.", lambda: MambaYOLOStem(3, 32)),
    "visioncluemerge": ("model.0.", "model.0.downsample.", lambda: MambaYOLODownsample(16, 32)),
}


def renamed(state: dict[str, Tensor], their_prefix: str, our_prefix: str) -> dict[str, Tensor]:
    ours = rename_mamba_yolo({their_prefix + name: tensor for name, tensor in state.items()})
    return {name.removeprefix(our_prefix): tensor for name, tensor in ours.items()}


@pytest.mark.parametrize("name", PLACES)
def test_a_part_with_all_gradients(name: str) -> None:
    case = golden_case(FILE, name)
    *prefixes, build = PLACES[name]
    state, module = filled(golden_shapes(FILE, name)), build()
    missing, unexpected = module.load_state_dict(renamed(state, *prefixes), strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)
    module.eval()
    x = drawn(f"{name}/input", case["input"]).requires_grad_()
    grid = x if isinstance(module, MambaYOLOStem) else x.permute(0, 2, 3, 1)
    output = module(grid).permute(0, 3, 1, 2)
    (output * drawn(f"{name}/cotangent", list(output.shape))).sum().backward()
    assert_golden(FILE, name, "output", output)
    assert_golden(FILE, name, "grad_input", x.grad)
    gradients = {key: parameter.grad for key, parameter in module.named_parameters()}
    our_names = dict(zip(state, renamed(state, *prefixes), strict=True))
    for array in case["arrays"]:
        if array.startswith("grad:"):
            theirs = array.removeprefix("grad:")
            gradient = gradients.pop(our_names[theirs])
            assert_golden(FILE, name, array, gradient.reshape(state[theirs].shape))
    # and we have no parameters that they do not have
    assert not gradients


# -- whole detectors ---------------------------------------------------------------------------


def published_state() -> dict[str, Tensor]:
    state = filled(golden_shapes(FILE, "mamba-yolo-t"))
    # bin numbers, not weights
    state["model.21.dfl.conv.weight"] = torch.arange(16.0).reshape(1, 16, 1, 1)
    return state


@pytest.fixture(scope="module")
def published() -> YOLO:
    model = YOLO("mamba-yolo-t")
    load_mamba_yolo(model, published_state())
    return model


@torch.no_grad()
def test_the_detector_predicts_what_the_published_one_does(published: YOLO) -> None:
    case = golden_case(FILE, "mamba-yolo-t")
    image = drawn("mamba-yolo-t/input", case["input"])
    prediction, raw = published.model.eval()(image)
    assert_golden(FILE, "mamba-yolo-t", "prediction", prediction)
    # newer releases split them into boxes and scores and join the levels
    levels = raw if isinstance(raw, list) else levels_of(raw)
    for number, level in enumerate(levels):
        assert_golden(FILE, "mamba-yolo-t", f"level{number}", level)


def levels_of(raw: dict[str, Tensor]) -> list[Tensor]:
    """Return the raw maps of the three levels as older releases do."""
    sizes = [tuple(feature.shape[2:]) for feature in raw["feats"]]
    joined = torch.cat([raw["boxes"], raw["scores"]], dim=1)
    parts = joined.split([height * width for height, width in sizes], dim=2)
    return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


def test_training_starts_from_loaded_weights(published: YOLO) -> None:
    # Ultralytics builds a new network for training, and takes weights over where ckpt is set
    assert published.ckpt["model"] is published.model


@pytest.mark.parametrize(
    "scale", ["t", *(pytest.param(s, marks=pytest.mark.slow) for s in ("b", "l"))]
)
def test_every_weight_of_the_published_model_has_its_place(scale: str) -> None:
    case = golden_case(FILE, f"mamba-yolo-{scale}")
    model, shapes = YOLO(f"mamba-yolo-{scale}"), golden_shapes(FILE, f"mamba-yolo-{scale}")
    assert sum(p.numel() for p in model.model.parameters()) == case["parameters"]
    theirs = rename_mamba_yolo({name: torch.empty(shape) for name, shape in shapes.items()})
    ours = model.model.state_dict()
    kept = [name for name in ours if not name.endswith("num_batches_tracked")]
    assert {name: theirs[name].shape for name in kept} == {name: ours[name].shape for name in kept}
    assert set(theirs) <= set(ours)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.1.op.Ds"), r"missing: model\.1\.blocks\.0\.scan\.scan\.D"),
        (lambda s: s.update({"model.3.new": torch.ones(1)}), r"unexpected: model\.3\.new"),
        (
            lambda s: s.update({"model.21.cv3.0.2.bias": torch.ones(7)}),
            r"wrong shape: model\.21\.cv3\.0\.2\.bias is \(7,\) in the file and \(80,\)",
        ),
        (lambda s: s.update(epoch=3), "state_dict holds epoch, but must hold tensors"),
        (lambda s: s.update({"backbone.0.weight": torch.ones(1)}), "must hold tensors called"),
    ],
    ids=["missing", "unexpected", "shape", "checkpoint", "prefix"],
)
def test_weights_that_do_not_fit_change_nothing(change, message: str, published: YOLO) -> None:
    state = {name: torch.zeros_like(tensor) for name, tensor in published_state().items()}
    change(state)
    before = {name: tensor.clone() for name, tensor in published.model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_mamba_yolo(published, state)
    after = published.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
