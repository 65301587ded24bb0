"""One step makes a model fast, equal, and says what it did."""

import pickle
from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn

import mlla
from mlla.blocks import MLLABlock

TINY = {"dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 4)}


def small_model(**options: object) -> nn.Module:
    torch.manual_seed(0)
    model = mlla.MLLA(**TINY, num_classes=options.pop("num_classes", 7), **options)  # type: ignore[arg-type]
    for part in model.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return model


class TwoParts(nn.Module):
    """A model of somebody else around ours."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("mlla_tiny", features_only=True, stage_norm=True, **TINY)
        self.head = nn.Conv2d(128, 5, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"maps": self.head(self.backbone(image)[-1])}


def test_a_classifier_stays_equal_and_the_original_untouched() -> None:
    model = small_model().train()
    before = deepcopy(model.state_dict())
    fast = mlla.optimize(model, example=torch.rand(2, 3, 64, 96))
    assert model.training
    assert not fast.training
    assert type(fast) is type(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert fast.optimizations.largest_error < 1e-5
    assert fast.optimizations.replaced == {"Stem": 1, "MLLABlock": 4, "Downsample": 3}
    text = str(fast.optimizations)
    assert "4 MLLABlock folded" in text
    assert "float32" in text


@pytest.mark.parametrize("size", [(32, 32), (33, 61), (224, 32)], ids=str)
def test_features_stay_equal_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = timm.create_model("mlla_tiny", features_only=True, stage_norm=True, **TINY).eval()
    fast = mlla.optimize(model)
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        for wanted, got in zip(model(image), fast(image), strict=True):
            assert (wanted - got).abs().max() < 1e-5 * wanted.abs().max()
            assert wanted.shape == got.shape


def test_a_model_of_others_around_ours() -> None:
    fast = mlla.optimize(TwoParts(), example=torch.rand(1, 3, 32, 64))
    assert fast.optimizations.largest_error < 1e-5
    assert fast.optimizations.replaced["MLLABlock"] == 4


def test_a_block_alone() -> None:
    fast = mlla.optimize(MLLABlock(16, 2), example=torch.randn(1, 4, 5, 16))
    assert fast.optimizations.replaced == {"MLLABlock": 1}
    assert fast.optimizations.largest_error < 1e-5


def test_bfloat16_takes_images_of_any_type() -> None:
    model = small_model().eval()
    fast = mlla.optimize(model, dtype=torch.bfloat16, example=torch.rand(1, 3, 64, 64))
    assert fast.optimizations.dtype == torch.bfloat16
    assert fast.optimizations.largest_error < 0.05
    assert fast(torch.rand(1, 3, 64, 64)).dtype == torch.bfloat16


def test_results_are_the_same_whoever_shares_the_batch() -> None:
    fast = mlla.optimize(small_model())
    images = torch.rand(3, 3, 64, 64)
    together = fast(images)
    for image, wanted in zip(images, together, strict=True):
        torch.testing.assert_close(fast(image[None])[0], wanted, rtol=1e-4, atol=1e-5)


def test_copies_and_pickles_compute_the_same() -> None:
    fast = mlla.optimize(small_model())
    image = torch.rand(1, 3, 32, 32)
    for twin in (deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert torch.equal(twin(image), fast(image))


def test_what_hooks_look_at_is_left_and_named() -> None:
    model = small_model()
    model.stages[0].blocks[0].mlp.register_forward_hook(lambda *_: None)
    fast = mlla.optimize(model, example=torch.rand(1, 3, 32, 32))
    assert fast.optimizations.left == {"MLLABlock": 1}
    assert "1 MLLABlock left" in str(fast.optimizations)
    assert type(fast.stages[0].blocks[0]) is MLLABlock


def test_a_layer_of_another_kind_is_left() -> None:
    model = MLLABlock(16, 2)
    model.mlp.expand = nn.utils.parametrizations.weight_norm(model.mlp.expand)
    fast = mlla.optimize(model, example=torch.randn(1, 4, 4, 16))
    assert fast.optimizations.left == {"MLLABlock": 1}
    # the attention inside is plain
    assert fast.optimizations.replaced == {"GatedLinearAttention": 1}


def test_errors_name_the_argument_and_the_remedy() -> None:
    model = small_model()
    with pytest.raises(TypeError, match=r"model='mlla_tiny' is no torch\.nn\.Module"):
        mlla.optimize("mlla_tiny")
    with pytest.raises(ValueError, match=r"class Linear has nothing to optimize.*use it as it is"):
        mlla.optimize(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="optimized already; optimize the original"):
        mlla.optimize(mlla.optimize(model))
    with pytest.raises(ValueError, match=r"dtype=torch\.float16 is slower.*torch\.bfloat16"):
        mlla.optimize(model, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"dtype=torch\.int8 must be"):
        mlla.optimize(model, dtype=torch.int8)
    with pytest.raises(RuntimeError, match="an optimized model is for inference"):
        mlla.optimize(model).train()
