"""Training on a handful of images: it learns, stops, resumes, repeats itself and saves safely."""

import csv
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import Tensor

from mlla.yolo import YOLO
from mlla.yolo.rows import MLLABlocks
from mlla.yolo.trainers import TRAINERS, OurModels

Arguments = Callable[..., dict[str, object]]
Dataset = Callable[[str], Path]
VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])


def results(run: Path) -> list[dict[str, float]]:
    with (run / "results.csv").open() as file:
        return [
            {key.strip(): float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def weights(checkpoint: Path) -> dict[str, Tensor]:
    return YOLO(checkpoint).model.float().state_dict()


class Observer:
    """Notes what a training starts from, which parameters get gradients and what it ends with."""

    def __init__(self, model: YOLO) -> None:
        self.without_gradient: set[str] = set()
        self.start: dict[str, Tensor] = {}
        self.end: dict[str, Tensor] = {}
        model.add_callback("on_train_start", self._at_start)
        model.add_callback("on_train_end", self._at_end)

    def _at_start(self, trainer: object) -> None:
        network = trainer.model
        self.start = {n: p.detach().clone() for n, p in network.named_parameters()}
        self.without_gradient = {n for n, p in network.named_parameters() if p.requires_grad}
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(self._note(name))

    def _note(self, name: str) -> Callable[[Tensor], None]:
        def note(gradient: Tensor) -> None:
            assert gradient.isfinite().all(), name
            self.without_gradient.discard(name)

        return note

    def _at_end(self, trainer: object) -> None:
        self.end = {n: p.detach().clone() for n, p in trainer.model.named_parameters()}

    def unchanged_matrices(self) -> set[str]:
        # the change of a vector may vanish: a normalisation behind it undoes any shift
        matrices = {name: start for name, start in self.start.items() if start.dim() > 1}
        return {name for name, start in matrices.items() if torch.equal(self.end[name], start)}


@pytest.mark.parametrize(
    "name",
    [
        "yolov8n-mlla",
        "yolov8n-c2f-mlla",
        "yolov8n-mlla-backbone-seg",
        "yolov8n-mlla-pose",
        "yolov8n-mlla-obb",
        "yolov8n-c2f-mlla-cls",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "yolov8n-mlla-backbone",
                "yolov8n-mlla-tiny",
                "yolov8n-c2f-mlla-seg",
                "yolov8n-c2f-mlla-pose",
                "yolov8n-mlla-backbone-obb",
                "yolov8n-mlla-tiny-cls",
            )
        ),
    ],
)
def test_one_epoch_moves_every_weight(
    name: str, dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    model = YOLO(name)
    seen = Observer(model)
    model.train(data=str(dataset(model.task)), **train_arguments())
    (epoch,) = results(private_folder / "run")
    losses = [value for key, value in epoch.items() if "loss" in key]
    assert losses
    assert all(math.isfinite(value) for value in losses)
    # which levels of the head have an object to regress depends on the data, and a classifier
    # reads one of the three stages of MLLA-T
    head = f"model.{len(model.model.model) - 1}."
    idle = (head, "stage_norms") if "tiny-cls" in name else (head,)
    for still in (seen.without_gradient, seen.unchanged_matrices()):
        assert {n for n in still if not any(part in n for part in idle)} == set()
    files = {file.name for file in (private_folder / "run" / "weights").iterdir()}
    assert files == {"best.pt", "last.pt"}


def test_after_training_the_model_is_the_best_one(trained: Path, image: Path) -> None:
    # the run folder is that of Ultralytics
    assert {"args.yaml", "results.csv", "weights"} <= {file.name for file in trained.iterdir()}
    assert len(YOLO(trained / "weights" / "best.pt")(image, imgsz=64, verbose=False)) == 1


def test_the_trainers_are_those_of_the_tasks() -> None:
    for name, task in (("yolov8n-mlla", "detect"), ("yolov8n-c2f-mlla-cls", "classify")):
        assert YOLO(name).task_map[task]["trainer"] is TRAINERS[task]
    for task, trainer in TRAINERS.items():
        stock = ultralytics.YOLO("yolov8n.yaml").task_map[task]["trainer"]
        assert issubclass(trainer, stock)


def test_the_same_seed_gives_the_same_weights(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.rand(len(name))  # what was drawn before does not matter
        model = YOLO("yolov8n-c2f-mlla")
        model.train(data=str(dataset("detect")), **train_arguments(seed=seed, name=name))
    a, b, c = (weights(private_folder / name / "weights" / "last.pt") for name in "abc")
    assert all(torch.equal(tensor, b[key]) for key, tensor in a.items())
    assert not all(torch.equal(tensor, c[key]) for key, tensor in a.items())


def test_training_takes_other_sizes_on_the_way(
    dataset: Dataset,
    train_arguments: Arguments,
    private_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = record_sizes(monkeypatch)
    # a switch until 8.3, a fraction of imgsz in 8.4
    multi_scale = 0.5 if VERSION >= (8, 4, 0) else True
    YOLO("yolov8n-mlla").train(
        data=str(dataset("detect")), **train_arguments(multi_scale=multi_scale, epochs=2)
    )
    assert len(sizes) > 1
    assert all(math.isfinite(value) for value in results(private_folder / "run")[-1].values())


def record_sizes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Collect height and width of the maps that our blocks see in validation and training."""
    sizes: set[tuple[int, int]] = set()
    forward = MLLABlocks.forward

    def recording(self: MLLABlocks, x: Tensor) -> Tensor:
        sizes.add(tuple(x.shape[2:]))
        return forward(self, x)

    monkeypatch.setattr(MLLABlocks, "forward", recording)
    return sizes


def test_validation_is_rectangular(
    trained: Path, dataset: Dataset, private_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = record_sizes(monkeypatch)
    metrics = YOLO(trained / "weights" / "best.pt").val(
        data=str(dataset("detect")), imgsz=64, batch=1, plots=False, project=str(private_folder)
    )
    assert any(height < width for height, width in sizes)
    assert any(height > width for height, width in sizes)
    assert 0 <= metrics.box.map50 <= 1


def test_rectangular_training_works_too(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    YOLO("yolov8n-mlla").train(data=str(dataset("detect")), **train_arguments(rect=True))
    assert len(results(private_folder / "run")) == 1


def test_the_norms_of_our_rows_are_not_decayed(
    dataset: Dataset, train_arguments: Arguments
) -> None:
    class StopError(Exception):
        pass

    groups: list[tuple[float, set[int]]] = []
    names: dict[int, str] = {}

    def look(trainer: object) -> None:
        names.update({id(p): n for n, p in trainer.model.named_parameters()})
        for group in trainer.optimizer.param_groups:
            groups.append((group["weight_decay"], {id(p) for p in group["params"]}))
        raise StopError

    model = YOLO("yolov8n-mlla-backbone")
    model.add_callback("on_train_start", look)
    with pytest.raises(StopError):
        model.train(data=str(dataset("detect")), **train_arguments())
    decayed = {names[i] for decay, ids in groups for i in ids if decay > 0}
    assert len(decayed) > 50
    assert not {n for n in decayed if "norm" in n or n.endswith("bias") or ".bn." in n}


# -- stopping and resuming ---------------------------------------------------------------------


def test_an_interrupted_training_resumes_where_it_was(
    dataset: Dataset, train_arguments: Arguments, private_folder: Path
) -> None:
    model = YOLO("yolov8n-mlla")

    def interrupt(trainer: object) -> None:
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.train(data=str(dataset("detect")), **train_arguments(epochs=3))
    last = private_folder / "run" / "weights" / "last.pt"
    assert [row["epoch"] for row in results(private_folder / "run")] == [1]
    saved = torch.load(last, map_location="cpu", weights_only=False)

    resumed = YOLO(last)
    start: dict[str, object] = {}

    def look(trainer: object) -> None:
        state = trainer.optimizer.state_dict()["state"]
        start.update(
            trainer=type(trainer),
            epoch=trainer.start_epoch,
            ema={n: t.clone() for n, t in trainer.ema.ema.state_dict().items()},
            momentum=[state[i]["momentum_buffer"].clone() for i in sorted(state)],
        )

    resumed.add_callback("on_train_start", look)
    resumed.train(resume=True)
    assert start["trainer"] is TRAINERS["detect"]
    assert start["epoch"] == 1
    for name, tensor in saved["ema"].float().state_dict().items():
        assert torch.equal(start["ema"][name], tensor)
    stored = saved["optimizer"]["state"]
    # all but dfl, which is frozen
    assert len(stored) == len(start["momentum"]) == len(list(resumed.model.parameters())) - 1
    for number, momentum in zip(sorted(stored), start["momentum"], strict=True):
        assert torch.equal(stored[number]["momentum_buffer"].float(), momentum.float())
    assert [row["epoch"] for row in results(private_folder / "run")] == [1, 2, 3]


# -- saving ------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Stands for a kill in the middle of writing."""


class StockSave:
    """Writes what the stock trainer writes: last, best, and one file an epoch."""

    files = ("last", "best", "epoch3.pt")

    def __init__(self, folder: Path) -> None:
        self.wdir = folder
        self.last, self.best = folder / "last.pt", folder / "best.pt"
        self.content = b"new"
        self.fail_at: str | None = None
        self.wanted = self.files

    def save_model(self) -> bool:
        for name in self.wanted:
            path = getattr(self, name, None) or self.wdir / name
            path.write_bytes(self.content[:1])
            if name == self.fail_at:
                raise StoppedError
            path.write_bytes(self.content)
        return True


class Saver(OurModels, StockSave):
    """The mixin over the smallest trainer."""


@pytest.fixture
def saver(private_folder: Path) -> Saver:
    saver = Saver(private_folder)
    for name in ("last.pt", "best.pt"):
        (private_folder / name).write_bytes(b"old")
    return saver


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_saving_replaces_the_files_and_leaves_no_draft(saver: Saver) -> None:
    assert saver.save_model() is True
    assert contents(saver.wdir) == dict.fromkeys(("last.pt", "best.pt", "epoch3.pt"), b"new")


@pytest.mark.parametrize("fail_at", StockSave.files)
def test_a_failure_while_writing_leaves_the_old_files(saver: Saver, fail_at: str) -> None:
    folder = saver.wdir
    saver.fail_at = fail_at
    with pytest.raises(StoppedError):
        saver.save_model()
    assert contents(folder) == {"last.pt": b"old", "best.pt": b"old"}
    assert (saver.wdir, saver.last, saver.best) == (folder, folder / "last.pt", folder / "best.pt")
    # and the next save works
    saver.fail_at = None
    saver.save_model()
    assert contents(folder)["best.pt"] == b"new"


def test_the_draft_of_a_killed_run_is_thrown_away(saver: Saver) -> None:
    draft = saver.wdir / ".writing"
    draft.mkdir()
    (draft / "best.pt").write_bytes(b"n")
    saver.wanted = ("last",)
    saver.save_model()
    assert contents(saver.wdir) == {"last.pt": b"new", "best.pt": b"old"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX can kill a fork")
def test_a_kill_at_any_moment_leaves_a_whole_file(saver: Saver) -> None:
    # a stock trainer killed in such a loop leaves an unreadable file every other time
    whole = {b"old", *(bytes([version]) * 3_000_000 for version in range(4))}
    for attempt in range(20):
        child = os.fork()
        if child == 0:
            while True:
                for version in range(4):
                    saver.content = bytes([version]) * 3_000_000
                    saver.save_model()
        time.sleep(0.01 + 0.007 * attempt)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert (saver.wdir / "last.pt").read_bytes() in whole
        assert (saver.wdir / "best.pt").read_bytes() in whole
    # what the last one left unfinished is gone after the next save
    saver.save_model()
    assert set(contents(saver.wdir)) == {"last.pt", "best.pt", "epoch3.pt"}


def test_a_run_that_dies_while_saving_can_be_resumed(
    dataset: Dataset,
    train_arguments: Arguments,
    private_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the stock trainer writes bytes straight into last.pt
    write_bytes, last_pts = Path.write_bytes, []

    def fail_the_second_time(path: Path, content: bytes) -> int:
        if path.name == "last.pt":
            last_pts.append(path)
            if len(last_pts) == 2:
                write_bytes(path, content[: len(content) // 2])
                raise StoppedError
        return write_bytes(path, content)

    monkeypatch.setattr(Path, "write_bytes", fail_the_second_time)
    with pytest.raises(StoppedError):
        YOLO("yolov8n-c2f-mlla").train(data=str(dataset("detect")), **train_arguments(epochs=2))
    folder = private_folder / "run" / "weights"
    assert {file.name for file in folder.iterdir()} == {"last.pt", "best.pt"}
    saved = torch.load(folder / "last.pt", map_location="cpu", weights_only=False)
    assert saved["epoch"] == 0
