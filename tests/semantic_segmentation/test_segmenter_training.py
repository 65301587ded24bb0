"""A small training, its resumption, its scores and the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from shapes import SMALL_DECODER, TINY, write_shapes

from mlla.cli import main
from mlla.semantic_segmentation import SegmentationRecipe, load_segmenter, train, validate
from mlla.training import LoopSettings

NAMES = ["ground", "red", "blue"]
RECIPE = SegmentationRecipe(lr=3e-3, size_px=32, crop_px=32)
SETTINGS = LoopSettings(
    epochs=2, batch=3, workers=0, device="cpu", ema_decay=None, clip_grad_norm=None
)
OPTIONS = {"model_args": TINY, "decoder_args": SMALL_DECODER, "classes": NAMES, "recipe": RECIPE}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    return out, train(data, out, SETTINGS, **OPTIONS)


def test_a_training_can_be_scored_again(run, data, tmp_path):
    out, figures = run
    scores = validate(out / "best", data, out=tmp_path / "scored", workers=0, device="cpu")
    assert scores.figures() == pytest.approx({k: v for k, v in figures.items() if k != "epoch"})
    written = json.loads((tmp_path / "scored/scores.json").read_text())
    assert written["mIoU"] == pytest.approx(figures["mIoU"])
    assert list(written["classes"]) == NAMES
    mask = np.asarray(Image.open(tmp_path / "scored/masks/1.png"))
    assert mask.shape == (41, 56)
    assert set(np.unique(mask)) <= {0, 1, 2}
    with pytest.raises(FileExistsError, match=r"has scores.json already"):
        validate(out / "best", data, out=tmp_path / "scored", workers=0, device="cpu")
    with pytest.raises(ValueError, match=r"has the classes a, b, c, but .* ground, red, blue"):
        validate(out / "best", data, classes=["a", "b", "c"], workers=0, device="cpu")


def test_a_training_that_was_stopped_ends_the_same(run, data, tmp_path):
    whole, _ = run

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        import mlla.training.loop as loop

        original = loop._Loop.run_epoch

        def one_epoch(self, *arguments):
            if self.epochs_done:
                stop()
            original(self, *arguments)

        patch.setattr(loop._Loop, "run_epoch", one_epoch)
        with pytest.raises(StopError):
            train(data, tmp_path / "run", SETTINGS, **OPTIONS)
    train(data, tmp_path / "run", SETTINGS, **OPTIONS)
    weights = [(out / "last/model.safetensors").read_bytes() for out in (whole, tmp_path / "run")]
    assert weights[0] == weights[1]
    with pytest.raises(ValueError, match="crop_px was 32 and is now 64"):
        train(data, whole, SETTINGS, **{**OPTIONS, "recipe": replace(RECIPE, crop_px=64)})


def test_one_image_at_a_time_is_refused_where_the_decoder_cannot(data, tmp_path):
    settings = replace(SETTINGS, forward_batch=1)
    with pytest.raises(ValueError, match=r"forward_batch=1: .* choose forward_batch=2"):
        train(data, tmp_path / "run", settings, **OPTIONS)


def test_both_heads_and_the_recipe_reach_the_training(run):
    out, _ = run
    results = (out / "results.csv").read_text().splitlines()
    assert "train/cross_entropy,train/auxiliary,metrics/mIoU" in results[0]
    arguments = (out / "args.yaml").read_text()
    assert "auxiliary_weight: 0.4" in arguments
    assert load_segmenter(out / "best").model.auxiliary is not None


def test_recipe_is_the_published_one():
    recipe = SegmentationRecipe()
    assert (recipe.lr, recipe.weight_decay, recipe.power) == (6e-5, 0.01, 1.0)
    assert (recipe.size_px, recipe.crop_px, recipe.auxiliary_weight) == (512, 512, 0.4)
    assert recipe.warmup_of(160_000) == 1500
    assert recipe.warmup_of(200) == 20
    with pytest.raises(ValueError, match="warmup_updates=9 must be less than the 8 updates"):
        SegmentationRecipe(warmup_updates=9).warmup_of(8)
    with pytest.raises(ValueError, match="lr=0 must be positive"):
        SegmentationRecipe(lr=0)


def test_ignored_pixels_teach_nothing():
    from mlla.semantic_segmentation.task import _cross_entropy

    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    target = torch.full((1, 4, 4), 255)
    _cross_entropy(logits, target).backward()
    assert logits.grad.abs().max() == 0
    target[0, 0, 0] = 2
    # as in the published training, the mean is over all pixels
    expected = -logits[0, :, 0, 0].log_softmax(0)[2] / 16
    torch.testing.assert_close(_cross_entropy(logits, target), expected)


def test_dice_is_that_of_segmentation_models_pytorch():
    from segmentation_models_pytorch.losses import DiceLoss

    from mlla.semantic_segmentation.dice import dice_loss

    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 5, 7), torch.randint(0, 3, (2, 5, 7))
    # theirs halves numerator and denominator
    theirs = DiceLoss("multiclass", smooth=0.5)(logits, target)
    torch.testing.assert_close(dice_loss(logits, target), theirs)
    perfect = 50 * torch.nn.functional.one_hot(target, 3).permute(0, 3, 1, 2).float()
    assert dice_loss(perfect, target) < 1e-6
    # what is ignored changes nothing
    target[:, 2:] = 255
    part = dice_loss(logits[:, :, :2], target[:, :2])
    torch.testing.assert_close(dice_loss(logits, target), part)


def test_command(data, tmp_path, capsys):
    (data / "classes.txt").write_text("\n".join(NAMES))
    out = tmp_path / "run"
    words = [f"data={data}", f"out={out}", "model=vm_unet", "epochs=1", "batch=3", "workers=0"]
    words += ["size_px=32", "crop_px=32", "lr=1e-3", "device=cpu"]
    small = "model_args=dim=8, depths=(1, 1), depths_decoder=(1, 1)"
    assert main(["semantic", "train", *words, small]) == 0
    assert "vm_unet for 3 classes: 6 images to learn from, 3 to score on" in capsys.readouterr().out
    # as VM-UNet's authors train it, without being asked
    assert "train/cross_entropy,train/dice" in (out / "results.csv").read_text()
    words = [f"model={out / 'best'}", f"data={data}", "workers=0", "device=cpu", "scales=0.5,1"]
    assert main(["semantic", "val", *words, "flip"]) == 0
    text = capsys.readouterr().out
    assert "ground" in text
    assert "mIoU" in text
    (data / "classes.txt").unlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tran"], "did you mean train"),
        (["train", "out=x"], "missing data="),
        (["train", "data=nowhere", "out=x"], "neither a folder nor a YAML file"),
        (["train", "data=x", "out=y", "crop=3"], "unknown option 'crop'"),
        (["train", "data=x", "out=y", "ignore=a"], "must be numbers, such as 0,255"),
        (["val", "model=nowhere", "data=x"], "nowhere is not a folder"),
    ],
)
def test_mistakes_are_answered_with_a_remedy(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["semantic", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_small_training_learns_the_shapes(data, tmp_path):
    settings = replace(SETTINGS, epochs=300)
    recipe = replace(RECIPE, warmup_updates=10)
    figures = train(data, tmp_path / "run", settings, **{**OPTIONS, "recipe": recipe})
    assert figures["mIoU"] > 0.8
