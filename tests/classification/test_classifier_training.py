"""Trainings of a tiny MLLA on small pictures, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from pictures import write_pictures

import children
from mlla.classification import Recipe, train
from mlla.classification.image_split import TransformedImages, open_split
from mlla.classification.models import Classifier
from mlla.classification.task import ClassificationTask
from mlla.cli import main
from mlla.models import from_pretrained
from mlla.training import LoopSettings, Moment

MODEL = {"dim": 8, "depths": [1, 1], "num_heads": [1, 1]}
WORDS = [
    "model=mlla_tiny",
    "model_args=dim=8, depths=[1, 1], num_heads=[1, 1]",
    "epochs=4",
    "batch=8",
    "forward_batch=4",
    "image_size=16",
    "workers=0",
    "device=cpu",
    "lr=0.003",
]


def small_training(data, out, **changes):
    settings = LoopSettings(
        **{"epochs": 4, "batch": 8, "forward_batch": 4, "workers": 0, "device": "cpu", **changes}
    )
    train("mlla_tiny", data, out, settings, recipe=Recipe(lr=3e-3), image_size=16, model_args=MODEL)


def state(out):
    return torch.load(Path(out) / "state.pt", weights_only=True)["learner"]


def assert_same_bits(one, two):
    for part in ("model", "average"):
        theirs = state(two)[part]
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in state(one)[part].items())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "run"
    assert children.run(small_training, data, out) == [0]
    return out


def test_two_processes_give_the_same_bits_as_one(data, trained, tmp_path):
    # with RandAugment, erasing, mixup, drop path, batch norms, MESA and the moving average
    assert children.run(small_training, data, tmp_path / "run", processes=2) == [0, 0]
    assert_same_bits(trained, tmp_path / "run")


def test_the_best_model_is_read_by_mlla_and_timm(trained):
    network = from_pretrained(trained / "best").eval()
    config = json.loads((trained / "best" / "config.json").read_text())
    assert config["label_names"] == ["blue", "green", "red"]
    assert config["pretrained_cfg"]["input_size"] == [3, 16, 16]
    same = timm.create_model(f"local-dir:{trained / 'best'}", pretrained=True).eval()
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(image), same(image))


def test_what_is_saved_is_the_moving_average(trained):
    saved = from_pretrained(trained / "last").state_dict()
    assert all(
        torch.equal(tensor, saved[name]) for name, tensor in state(trained)["average"].items()
    )
    assert any(
        not torch.equal(tensor, saved[name]) for name, tensor in state(trained)["model"].items()
    )


def test_predictions_give_the_scores_of_the_last_epoch(trained):
    with np.load(trained / "last" / "predictions.npz") as predictions:
        logits, targets = predictions["logits"], predictions["targets"]
        assert logits.dtype == np.float32
        assert predictions["images"][4] == "val/green/0.png"
        assert predictions["class_names"].tolist() == ["blue", "green", "red"]
    assert targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    last = (trained / "results.csv").read_text().splitlines()
    row = dict(zip(last[0].split(","), last[-1].split(","), strict=True))
    hits = (logits.argmax(1) == targets).mean()
    assert float(row["metrics/top1"]) == pytest.approx(100 * hits)
    assert float(row["metrics/top5"]) == 100


def test_the_same_command_goes_on_and_another_is_refused(data, tmp_path, capfd):
    words = ["classify", "train", f"data={data}", f"out={tmp_path / 'run'}", *WORDS]

    def command(*more):
        return children.run(lambda: sys.exit(main([*words, *more])))

    assert command() == [0]
    assert "lr 0.003 for batches of 8" in capfd.readouterr().out
    assert command() == [0]
    assert "4 of 4 epochs were done" in capfd.readouterr().out
    assert command("mixup=0.1", "seed=2") == [2]
    error = capfd.readouterr().err
    assert "mixup was 0.8 and is now 0.1" in error
    assert "seed was 0 and is now 2" in error


def test_ctrl_c_loses_no_more_than_an_epoch(data, trained, tmp_path, capfd):
    out = tmp_path / "run"
    words = ["classify", "train", f"data={data}", f"out={out}", *WORDS]
    child = children.start(lambda: sys.exit(main(words)))
    until = time.monotonic() + 200
    while not (out / "state.pt").is_file() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGINT)
    child.join(200)
    assert child.exitcode == 130
    assert "mlla: interrupted" in capfd.readouterr().err
    assert children.run(small_training, data, out) == [0]
    assert_same_bits(trained, out)


def task(data, recipe, batch=4, num_classes=3):
    class Network(torch.nn.Module):
        """Says the mean of the image, as every class."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(num_classes))

        def forward(self, x):
            return x.mean((1, 2, 3))[:, None] * self.scale

    images = TransformedImages(open_split(data, "val"), lambda image: image)
    settings = LoopSettings(epochs=8, batch=batch)
    made = ClassificationTask(
        Classifier("mlla_tiny", Network(), images.split.class_names),
        images,
        images,
        recipe,
        settings,
        arguments={},
        input_size=(3, 16, 16),
    )
    return made, Network()


def test_mesa_begins_at_a_quarter_of_the_epochs(data):
    made, network = task(data, Recipe(lr=1, warmup_epochs=0, drop_path=0, mesa=2.0))
    batch = (torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]))
    terms = [
        made.loss(network, batch, Moment(epoch, 8, 0, network)).keys() for epoch in (0, 1, 2, 7)
    ]
    assert [("mesa" in names) for names in terms] == [False, False, True, True]
    # equal scores for three classes, twice
    mesa = made.loss(network, batch, Moment(7, 8, 0, network))["mesa"]
    assert mesa.item() == pytest.approx(2 * np.log(3))
    with pytest.raises(ValueError, match="mesa needs a moving average"):
        made.loss(network, batch, Moment(7, 8, 0, None))


def test_mixing_needs_pairs(data):
    made, network = task(data, Recipe(mesa=0))
    batch = (torch.rand(3, 3, 16, 16), torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="forward_batch=3 is odd"):
        made.loss(network, batch, Moment(0, 8, 0, None))
    made, network = task(data, Recipe(mesa=0, mixup=0, cutmix=0, label_smoothing=0))
    loss = made.loss(network, batch, Moment(0, 8, 0, None))["cross_entropy"]
    assert loss.item() == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "data=x", "out=y"], "missing model="),
        (["train", "model=mlla_tiny", "data=x", "out=y", "learning_rate=1"], "unknown option"),
        (["trian"], "did you mean train"),
        (["val", "model=mlla_tiny", "data=nowhere"], "data=nowhere is not a folder here"),
        (["train", "model=x", "data=x", "out=y", "epochs=many"], "epochs='many' must be a whole"),
        (["val", "model=mlla_tiny", "data=nowhere", "extra"], "unexpected extra"),
        (["val", "model=mlla_tiny", "data=nowhere", "batch=all"], "batch='all' must be a whole"),
    ],
)
def test_commands_that_cannot_run(words, message, capsys):
    assert main(["classify", *words]) == 2
    assert message in capsys.readouterr().err


def test_unknown_models_are_named(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model=mlla_huge is no file .* mlla_base"):
        train("mlla_huge", data, tmp_path, LoopSettings(epochs=1, batch=8, device="cpu"))


@pytest.mark.slow
def test_torchrun_and_one_process_give_the_same_bits(data, trained, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", "0", "--standalone", "-m", "mlla.cli", "classify", "train"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*command, f"data={data}", f"out={out}", *WORDS], check=True, env=environment, timeout=500
    )
    assert_same_bits(trained, out)
