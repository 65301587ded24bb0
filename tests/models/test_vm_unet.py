"""VM-UNet as a network: sizes, options, errors, precision, export, optimizers and files."""

import warnings

import pytest
import torch
from timm.optim import create_optimizer_v2
from torch.nn import functional

from mlla.models import VMUNet, load_published
from mlla.models.vm_unet_names import rename_vm_unet

SMALL = {"dim": 8, "depths": (1, 1), "depths_decoder": (1, 1)}


def small(**options):
    """Build two stages whose every weight matters: projections start small."""
    model = VMUNet(**{**SMALL, **options})
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and not name.endswith(("A_log", "D", "dt_proj_bias")):
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def relative_error(output, expected):
    """Return the largest difference, relative to the largest of the expected."""
    assert output.shape == expected.shape
    return ((output - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (13, 30), (33, 7)], ids=str)
def test_any_size_gives_the_crop_of_the_padded_image(size):
    model, image = small(num_classes=3).eval(), torch.randn(2, 3, *size)
    logits = model(image)
    assert logits.shape == (2, 3, *size)
    # two stages: whole pixels of the deepest are 8 wide
    padded = functional.pad(image, (0, -size[1] % 8, 0, -size[0] % 8))
    assert torch.equal(logits, model(padded)[..., : size[0], : size[1]])


@torch.no_grad()
def test_four_stages_take_multiples_of_32_as_they_are():
    model = VMUNet(dim=4, depths=(1, 1, 1, 1), depths_decoder=(1, 1, 1, 1)).eval()
    seen = []
    model.patch_projection.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    model(torch.randn(1, 3, 32, 64))
    model(torch.randn(1, 3, 33, 64))
    assert seen == [(1, 3, 32, 64), (1, 3, 64, 64)]


def test_every_weight_gets_a_gradient():
    model, image = small(), torch.randn(2, 3, 16, 24, requires_grad=True)
    model(image).square().sum().backward()
    assert image.grad.isfinite().all()
    assert not [n for n, p in model.named_parameters() if not p.grad.abs().sum() > 0]


def test_one_image_passes_gradcheck():
    model = small(depths=(1,), depths_decoder=(1,), dim=4).double().eval()
    image = torch.randn(1, 3, 8, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model, image, fast_mode=True)


@torch.no_grad()
def test_images_of_a_batch_and_memory_formats_do_not_matter():
    model, image = small().eval(), torch.randn(3, 3, 9, 14)
    expected = torch.cat([model(one[None]) for one in image])
    torch.testing.assert_close(model(image), expected, rtol=1e-4, atol=1e-5)
    channels_last = image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(channels_last), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 4e-2), (torch.float16, 5e-3)])
def test_autocast_stays_close_to_float32(dtype, tolerance):
    # the last norm works on a quarter of the width: that of two channels knows signs only
    model, image = small(dim=32).eval(), torch.randn(1, 3, 24, 16)
    expected = model(image)
    with torch.autocast("cpu", dtype=dtype):
        logits = model(image).float()
    assert (logits - expected).norm() / expected.norm() < tolerance


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_stays_finite(dtype):
    logits = small().to(dtype)(100 * torch.randn(1, 3, 24, 16).to(dtype))
    assert logits.dtype == dtype
    assert logits.isfinite().all()


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:FutureWarning")
def test_trace_keeps_height_and_width_open_without_warnings():
    model = small(dim=16).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(model, torch.randn(1, 3, 16, 24))
    for size in [(13, 30), (8, 8), (1, 1)]:
        image = torch.randn(2, 3, *size)
        assert relative_error(traced(image), model(image)) <= 1e-4


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.filterwarnings("ignore:You are using the legacy")
def test_onnx_keeps_height_and_width_open(tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = small(dim=16, depths=(1, 2), depths_decoder=(1, 2)).eval()
    path = str(tmp_path / "model.onnx")
    torch.onnx.export(
        model,
        (torch.randn(1, 3, 16, 24),),
        path,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
        opset_version=18,
        dynamo=False,
    )
    session = runtime.InferenceSession(path)
    for size in [(16, 24), (13, 30), (40, 8)]:
        image = torch.randn(2, 3, *size)
        (logits,) = session.run(None, {"image": image.numpy()})
        assert relative_error(torch.from_numpy(logits), model(image)) <= 1e-4


# -- options and errors ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"in_chans": 1},
        {"num_classes": 4},
        {"dim": 12},
        {"depths": (1, 2)},
        {"depths_decoder": (2, 1)},
    ],
    ids=str,
)
def test_option_changes_the_weights(changed):
    shapes = [
        {name: tensor.shape for name, tensor in VMUNet(**options).state_dict().items()}
        for options in (SMALL, {**SMALL, **changed})
    ]
    assert shapes[0] != shapes[1]


def test_drop_path_grows_towards_the_bottom_on_both_sides():
    model = VMUNet(dim=4, depths=(2, 1, 2), depths_decoder=(1, 3, 1), drop_path_rate=0.4)
    encoder, decoder = (
        [block.drop_path.p for stage in side for block in stage]
        for side in (model.encoder, model.decoder)
    )
    assert encoder == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert decoder == pytest.approx([0.4, 0.3, 0.2, 0.1, 0])


@torch.no_grad()
def test_drop_path_acts_only_while_training():
    model, image = small(drop_path_rate=0.9), torch.randn(4, 3, 8, 16)
    assert not torch.equal(model.train()(image), model.train()(image))
    assert torch.equal(model.eval()(image), model.eval()(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_chans": 0}, "in_chans=0 must be at least 1"),
        ({"num_classes": 0}, "num_classes=0 must be at least 1"),
        ({"dim": 10}, "dim=10 must be a positive multiple of 4"),
        ({"depths": ()}, r"depths=\(\) and depths_decoder=\(1, 1\) must have one entry"),
        ({"depths": (1, 1, 1)}, r"depths=\(1, 1, 1\) and .* must have one entry per stage"),
        ({"depths_decoder": (1, 0)}, r"depths_decoder=\(1, 0\): every stage needs at least one"),
        ({"drop_path_rate": 1.0}, r"drop_path_rate=1.0 must be a probability in \[0, 1\)"),
    ],
    ids=str,
)
def test_errors_name_the_argument_and_its_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        VMUNet(**{**SMALL, **arguments})


def test_an_image_with_other_channels_says_what_to_do():
    with pytest.raises(ValueError, match=r"image has 1 channels, .* in_chans=3; .*expand"):
        small()(torch.randn(1, 1, 16, 16))
    grey = torch.randn(1, 1, 16, 16)
    assert small(in_chans=1)(grey).shape == small()(grey.expand(-1, 3, -1, -1)).shape


# -- optimizers and files ----------------------------------------------------------------------


def test_optimizers_of_timm_do_not_decay_the_scans():
    model = small()
    optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    decayed = {
        name_of[parameter]
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group["weight_decay"]
    }
    matrices = {name for name, p in model.named_parameters() if p.dim() > 1}
    spared = {n for n in matrices if n.rpartition(".")[2] in ("A_log", "D", "dt_proj_bias")}
    # three in each of the four blocks
    assert len(spared) == 12
    assert decayed == matrices - spared


def published_names():
    """Return the authors' names of a network of two stages with one block each."""
    blocks = [f"layers{up}.{stage}.blocks.0." for up in ("", "_up") for stage in (0, 1)]
    parts = ["ln_1.weight", "ln_1.bias"]
    weights = ("in_proj.weight", "out_proj.weight", "x_proj_weight", "dt_projs_weight")
    parts += [f"self_attention.{n}" for n in (*weights, "dt_projs_bias", "A_logs", "Ds")]
    parts += [f"self_attention.{n}.{w}" for n in ("conv2d", "out_norm") for w in ("weight", "bias")]
    around = ["patch_embed.proj", "patch_embed.norm", "final_conv", "final_up.norm"]
    around += ["layers.0.downsample.norm", "layers_up.1.upsample.norm"]
    names = [f"{module}.{weight}" for module in around for weight in ("weight", "bias")]
    names += ["final_up.expand.weight", "layers.0.downsample.reduction.weight"]
    return [*names, "layers_up.1.upsample.expand.weight", *(b + p for b in blocks for p in parts)]


def published_state(model):
    """Return the state of a small model under the names of the authors."""
    state, theirs = model.state_dict(), {}
    for name in published_names():
        tensor = state.pop(rename_vm_unet(name))
        # they store the four scans in one dimension
        theirs[name] = tensor.flatten(0, 1) if name.endswith((".A_logs", ".Ds")) else tensor
    assert not state
    return theirs


@torch.no_grad()
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        # what the authors save: best.pth of their wrapper, and latest.pth
        lambda state: {f"vmunet.{name}": tensor for name, tensor in state.items()},
        lambda state: {
            "epoch": 7,
            "model_state_dict": {f"module.vmunet.{n}": t for n, t in state.items()},
        },
    ],
    ids=["plain", "best", "latest"],
)
def test_files_of_the_authors_load(wrap):
    source, target, image = small().eval(), VMUNet(**SMALL).eval(), torch.randn(1, 3, 8, 8)
    load_published(target, wrap(published_state(source)))
    assert torch.equal(target(image), source(image))


@torch.no_grad()
def test_another_number_of_classes_keeps_its_own_head():
    source, target = small(), VMUNet(**SMALL, num_classes=5)
    head = target.head.weight.clone()
    load_published(target, published_state(source), keep=("head",))
    assert torch.equal(target.head.weight, head)
    assert torch.equal(target.decoder[1][0].norm.weight, source.decoder[1][0].norm.weight)


def test_a_file_that_does_not_fit_lists_every_name_and_loads_nothing():
    state = published_state(small())
    del state["final_conv.bias"]
    state["final_conv.weight"] = torch.zeros(4, 2, 1, 1)
    state["layers.0.blocks.1.ln_1.weight"] = torch.zeros(8)
    model = VMUNet(**SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match="nothing was loaded") as raised:
        load_published(model, state)
    for line in (
        "missing: head.bias",
        "wrong shape: head.weight is (4, 2, 1, 1) in the file and (1, 2, 1, 1) in the model",
        "unexpected: encoder.0.1.norm.weight",
    ):
        assert line in str(raised.value)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
