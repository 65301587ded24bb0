"""Every option of MLLA changes weights or output; every wrong one says so."""

import pytest
import timm
import torch
from torch import nn

from mlla.models import MLLA

SMALL = {"dim": 16, "depths": (1, 1), "num_heads": (1, 2), "num_classes": 5}


def create(**options):
    return timm.create_model("mlla_tiny", **{**SMALL, **options})


def shapes(model):
    return {n: tuple(t.shape) for n, t in model.state_dict().items()}


@pytest.mark.parametrize(
    "changed",
    [
        {"dim": 32},
        {"depths": (2, 1)},
        {"in_chans": 1},
        {"num_classes": 7},
        {"mlp_ratio": 2.0},
        {"stage_norm": True, "num_classes": 0},
    ],
    ids=str,
)
def test_option_changes_the_weights(changed):
    assert shapes(MLLA(**SMALL)) != shapes(MLLA(**{**SMALL, **changed}))


@torch.no_grad()
@pytest.mark.parametrize(
    "changed",
    [
        {"num_heads": (2, 4)},
        {"global_pool": "max"},
        {"drop_rate": 0.5},
        {"drop_path_rate": 0.5},
    ],
    ids=str,
)
def test_option_changes_the_output(changed):
    one, two = MLLA(**SMALL), MLLA(**{**SMALL, **changed})
    for parameter in one.parameters():
        # larger than at the start of training, where the branches hardly count
        nn.init.normal_(parameter, std=0.3)
    two.load_state_dict(one.state_dict())
    image = torch.randn(8, 3, 32, 48)
    assert not torch.allclose(one.train()(image), two.train()(image), rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("rate", ["drop_rate", "drop_path_rate"])
def test_rates_act_only_while_training(rate):
    one, two = MLLA(**SMALL), MLLA(**SMALL, **{rate: 0.5})
    two.load_state_dict(one.state_dict())
    image = torch.randn(2, 3, 32, 48)
    assert torch.equal(one.eval()(image), two.eval()(image))


def test_drop_path_grows_linearly_over_all_blocks():
    model = MLLA(16, (2, 1, 2), (1, 1, 1), num_classes=1, drop_path_rate=0.4)
    rates = [block.drop_path.p for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_linear_layers_start_as_published():
    model = MLLA(64, (1, 1), (2, 4))
    model.reset_classifier(1000)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert layer.bias.abs().sum() == 0


@torch.no_grad()
def test_classifier_norm_comes_before_pooling():
    model = MLLA(**SMALL).eval()
    nn.init.normal_(model.norm.weight)
    image = torch.randn(1, 3, 32, 48)
    grid = model.stages(model.stem(image))
    expected = model.head.fc(model.norm(grid).mean(dim=(1, 2)))
    torch.testing.assert_close(model(image), expected)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", "catavgmax"])
def test_poolings_of_timm_work(pool):
    model = create(global_pool=pool).eval()
    assert model(torch.randn(2, 3, 32, 48)).shape == (2, 5)
    pre_logits = model.forward_head(torch.randn(2, 4, 6, 32), pre_logits=True)
    assert pre_logits.shape == (2, model.head_hidden_size)


@torch.no_grad()
def test_stage_norm_normalises_every_feature_and_has_no_classifier():
    backbone = create(features_only=True, stage_norm=True, num_classes=1000).eval()
    assert not [n for n in backbone.state_dict() if n.startswith(("model.head.", "model.norm."))]
    for feature in backbone(torch.randn(1, 3, 64, 96)):
        torch.testing.assert_close(
            feature.mean(dim=1), torch.zeros(1, *feature.shape[2:]), atol=1e-4, rtol=0
        )
    assert create(
        features_only=True, stage_norm=True, out_indices=(1,)
    ).feature_info.channels() == [32]


@torch.no_grad()
def test_stage_norm_without_features_only_returns_normalised_features():
    model = create(stage_norm=True, num_classes=0).eval()
    image = torch.randn(1, 3, 32, 48)
    expected = model.stage_norms[-1](model.stages(model.stem(image)))
    torch.testing.assert_close(model.forward_features(image), expected)
    torch.testing.assert_close(model(image), expected.mean(dim=(1, 2)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"depths": (1, 1, 1)}, ValueError, r"depths=\(1, 1, 1\) and num_heads=\(1, 2\)"),
        ({"depths": ()}, ValueError, r"depths=\(\) and num_heads"),
        ({"depths": (1, 0)}, ValueError, r"depths=\(1, 0\): every stage needs"),
        ({"num_classes": -1}, ValueError, "num_classes=-1 must be at least 0"),
        ({"drop_rate": 1.0}, ValueError, "drop_rate=1.0 must be a probability"),
        ({"drop_path_rate": -0.1}, ValueError, "drop_path_rate=-0.1 must be a probability"),
        ({"stage_norm": True}, ValueError, "num_classes=5; pass features_only=True"),
        ({"dim": 18}, ValueError, "dim=18 is not a positive multiple of 4"),
        ({"in_chans": 0}, ValueError, "in_chans=0"),
        ({"num_heads": (1, 3)}, ValueError, "dim=32 does not split into num_heads=3"),
        ({"qkv_bais": False}, TypeError, "unexpected keyword argument 'qkv_bais'"),
        ({"img_size": 224}, TypeError, "unexpected keyword argument 'img_size'"),
        (
            {"stage_norm": True, "features_only": True, "feature_cls": "hook"},
            ValueError,
            "feature_cls='hook' would bypass",
        ),
        ({"pretrained": True}, RuntimeError, "no weights are hosted.*mlla.load_published"),
    ],
)
def test_errors_name_the_argument_and_its_value(options, error, message):
    with pytest.raises(error, match=message):
        create(**options)


def test_methods_refuse_what_they_cannot_do():
    model = create(stage_norm=True, num_classes=0)
    with pytest.raises(ValueError, match=r"num_classes=5 must be .* 0 with stage_norm=True"):
        model.reset_classifier(5)
    with pytest.raises(ValueError, match="num_classes=-2 must be at least 0"):
        create().reset_classifier(-2)
    with pytest.raises(ValueError, match="output_fmt='NLC' must be 'NCHW' or 'NHWC'"):
        create().forward_intermediates(torch.ones(1, 3, 32, 32), output_fmt="NLC")


def test_model_prints():
    assert "num_heads=2" in repr(create())
