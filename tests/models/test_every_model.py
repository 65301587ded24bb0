"""What holds for every model we register with timm."""

import itertools

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2

import mlla.models  # noqa: F401  registers with timm

NAMES = sorted(timm.list_models(["mlla_*", "mila_*"]))
SIZES = [(64, 96), (37, 51)]
PARAMETERS = {"tiny": 24_392_200, "small": 43_015_048, "base": 95_983_960}
# depth 1 and narrow: the true sizes are built once, without memory, to count their parameters
SMALL = {"dim": 16, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 4, 8)}

every_model = pytest.mark.parametrize("name", NAMES)


def create(name, **options):
    return timm.create_model(name, **{**SMALL, "num_classes": 5, **options}).eval()


def test_both_names_of_the_paper_are_known():
    assert [
        f"{family}_{size}" for family in ("mila", "mlla") for size in sorted(PARAMETERS)
    ] == NAMES


@every_model
def test_parameters_are_as_many_as_published(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name.partition("_")[2]]


@every_model
def test_names_in_the_default_cfg_exist(name):
    model = create(name)
    modules = dict(model.named_modules())
    assert isinstance(modules[model.default_cfg["first_conv"]], torch.nn.Conv2d)
    assert modules[model.default_cfg["classifier"]] is model.get_classifier()
    assert model.default_cfg["architecture"] == name
    assert timm.data.resolve_data_config({}, model=model)["input_size"] == (3, 224, 224)


@every_model
@torch.no_grad()
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_features_at_any_size(name, size):
    image = torch.randn(2, 3, *size)
    model = create(name)
    assert model(image).shape == (2, 5)
    backbone = create(name, features_only=True)
    features = backbone(image)
    info = backbone.feature_info
    assert info.reduction() == [4, 8, 16, 32]
    assert info.channels() == [16, 32, 64, 128]
    for feature, width, stride in zip(features, info.channels(), info.reduction(), strict=True):
        assert feature.shape == (2, width, *(-(-side // stride) for side in size))


@every_model
def test_every_parameter_gets_a_gradient(name):
    model = create(name).train()
    model(torch.randn(2, 3, 64, 96)).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert [n for n, p in model.named_parameters() if p.grad.abs().sum() == 0] == []


@every_model
@pytest.mark.parametrize("stage_norm", [False, True])
def test_no_parameter_of_a_backbone_is_left_without_gradient(name, stage_norm):
    backbone = create(name, features_only=True, out_indices=(0, 2), stage_norm=stage_norm)
    sum(feature.square().sum() for feature in backbone(torch.randn(2, 3, 32, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@every_model
@torch.no_grad()
def test_state_dict_round_trip(name, tmp_path):
    one, two = create(name), create(name)
    image = torch.randn(1, 3, 40, 72)
    assert not torch.allclose(one(image), two(image))
    torch.save(one.state_dict(), tmp_path / "weights.pt")
    two.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(one(image), two(image))


@every_model
@torch.no_grad()
def test_nothing_in_the_state_depends_on_the_resolution(name):
    model = create(name)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for size in SIZES:
        model(torch.randn(1, 3, *size))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert {n for n, _ in model.named_buffers()} <= before.keys()


@every_model
@torch.no_grad()
def test_intermediates_agree_with_features(name):
    model = create(name)
    image = torch.randn(2, 3, 37, 64)
    final, intermediates = model.forward_intermediates(image)
    torch.testing.assert_close(final, model.forward_features(image))
    backbone = create(name, features_only=True)
    backbone.model.load_state_dict(
        {n: t for n, t in model.state_dict().items() if n in backbone.model.state_dict()}
    )
    for raw, feature in zip(intermediates, backbone(image), strict=True):
        assert torch.equal(raw, feature)

    nhwc = model.forward_intermediates(image, output_fmt="NHWC", intermediates_only=True)
    for channels_last, raw in zip(nhwc, intermediates, strict=True):
        assert torch.equal(channels_last.permute(0, 3, 1, 2), raw)

    last_two = model.forward_intermediates(image, indices=2, intermediates_only=True)
    assert [f.shape for f in last_two] == [f.shape for f in intermediates[2:]]
    normed = model.forward_intermediates(image, norm=True, intermediates_only=True)
    torch.testing.assert_close(normed[-1].permute(0, 2, 3, 1), final)
    assert torch.equal(normed[0], intermediates[0])


@every_model
@torch.no_grad()
def test_stopping_early_leaves_out_the_later_stages(name):
    model = create(name)
    image = torch.randn(1, 3, 32, 32)
    ran = []
    for index, stage in enumerate(model.stages):
        stage.register_forward_hook(lambda *_, index=index: ran.append(index))
    last, features = model.forward_intermediates(image, indices=[0, 1], stop_early=True)
    assert ran == [0, 1]
    assert torch.equal(last.permute(0, 3, 1, 2), features[-1])


@every_model
@torch.no_grad()
def test_pruning_keeps_the_chosen_features(name):
    model = create(name)
    image = torch.randn(1, 3, 32, 48)
    expected = model.forward_intermediates(image, indices=[0, 1], intermediates_only=True)
    assert model.prune_intermediate_layers([0, -3], prune_norm=True) == [0, 1]
    assert len(model.stages) == 2
    assert model.num_features == model.head_hidden_size == 32
    kept = model.forward_intermediates(image, indices=[0, 1], intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(kept, expected, strict=True))
    assert model(image).shape == (1, 4, 6, 32)


@every_model
@torch.no_grad()
def test_classifier_can_be_replaced(name):
    model = create(name)
    image = torch.randn(2, 3, 64, 64)
    pre_logits = model.forward_head(model.forward_features(image), pre_logits=True)
    assert pre_logits.shape == (2, model.num_features) == (2, model.head_hidden_size)
    torch.testing.assert_close(model.get_classifier()(pre_logits), model(image))
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(image).shape == (2, 7)
    model.reset_classifier(0)
    torch.testing.assert_close(model(image), pre_logits)
    model.reset_classifier(3, "max")
    assert model(image).shape == (2, 3)
    model.reset_classifier(0, "")
    assert model(image).shape == (2, 2, 2, 128)


@every_model
def test_checkpointing_changes_neither_outputs_nor_gradients(name):
    model = create(name, drop_path_rate=0.5).train()
    image = torch.randn(4, 3, 32, 48)
    results = []
    for enabled in (False, True):
        model.set_grad_checkpointing(enabled)
        model.zero_grad()
        torch.manual_seed(1)
        output = model(image)
        output.square().sum().backward()
        results.append([output, *(p.grad.clone() for p in model.parameters())])
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(recomputed, plain)


def test_checkpointing_recomputes_every_block():
    model = create("mlla_tiny").train()
    calls = []
    for stage in model.stages:
        for block in stage.blocks:
            block.register_forward_pre_hook(lambda *_: calls.append(1))
    model.set_grad_checkpointing()
    model(torch.randn(2, 3, 32, 64)).sum().backward()
    assert len(calls) == 2 * sum(SMALL["depths"])


@every_model
@pytest.mark.parametrize("stage_norm", [False, True])
@pytest.mark.parametrize("coarse", [False, True])
def test_every_parameter_belongs_to_a_depth(name, coarse, stage_norm):
    model = create(name, num_classes=0 if stage_norm else 5, stage_norm=stage_norm)
    groups = group_parameters(model, model.group_matcher(coarse), reverse=True)
    assert groups.keys() == {n for n, _ in model.named_parameters()}
    order = ["stem.", "stages.0.", "stages.1.", "stages.2.", "stages.3.", "head."]
    depths = [{d for n, d in groups.items() if n.startswith(part)} for part in order]
    depths = [d for d in depths if d]
    for earlier, later in itertools.pairwise(depths):
        assert max(earlier) < min(later)
    # one group for the stem, each stage or block, and the head if there is one
    num_blocks = len(SMALL["depths"]) if coarse else sum(SMALL["depths"])
    assert max(groups.values()) == num_blocks + (0 if stage_norm else 1)
    for n, depth in groups.items():
        if n.startswith("stage_norms."):
            assert depth == max(d for m, d in groups.items() if m.startswith(f"stages.{n[12]}."))


def test_layer_decay_reaches_every_parameter():
    model = create("mlla_tiny")
    optimizer = create_optimizer_v2(model, "adamw", lr=1.0, weight_decay=0.05, layer_decay=0.5)
    groups = optimizer.param_groups
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    scale = {id(p): g["lr_scale"] for g in groups for p in g["params"]}
    head, stem = model.head.fc.weight, model.stem.reduce_to_half.conv.weight
    # head, five blocks, stem: six steps down
    assert scale[id(head)] == 1.0
    assert scale[id(stem)] == 0.5**6
    assert model.no_weight_decay() == set()
