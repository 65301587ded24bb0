"""What is shown depends on seed and epoch alone, and an interruption changes nothing."""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_rtdetr import small_config
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel, RTDETRDetectionModel
from ultralytics.utils import torch_utils

from mlla.yolo import YOLO, model_config
from mlla.yolo.machine import peak_memory, processor_name
from mlla.yolo.repeatable import (
    RepeatableDetectionTrainer,
    RepeatableRTDETRTrainer,
    use_threads,
)
from mlla.yolo.repeatable_data import EpochLoader, mixed_seed, random_numbers_from
from mlla.yolo.trainers import DetectionTrainer

NUM_CLASSES, NUM_TRAINING_IMAGES, EPOCHS = 2, 4, 3


class Stopped(Exception):  # noqa: N818
    """Stands in for a kill: nothing of the trainer runs after it."""


def write_start(path: Path, network: nn.Module) -> Path:
    network.names = {0: "a", 1: "b"}
    torch.save({"model": network, "train_args": {"task": "detect"}, "epoch": -1}, path)
    return path


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write initial weights in full precision."""
    torch.manual_seed(3)
    network = DetectionModel(model_config("yolov8n.yaml"), nc=NUM_CLASSES, verbose=False)
    return write_start(tmp_path_factory.mktemp("start") / "start.pt", network)


Train = Callable[..., Any]


@pytest.fixture
def train(
    start: Path, dataset: Callable[[str], Path], train_arguments: Callable[..., Any]
) -> Train:
    """Train in a folder, and return the trainer."""

    def run(
        folder: Path,
        *,
        model: Path = start,
        trainer: type = RepeatableDetectionTrainer,
        stop_in_epoch: int | None = None,
        **changes: Any,
    ) -> Any:
        # six images a step and two a batch: steps span batches and epochs
        settings = {"nbs": 6, "warmup_epochs": 0, "close_mosaic": 1, "optimizer": "AdamW"}
        settings = {"epochs": EPOCHS, "imgsz": 32, "lr0": 0.001, **settings}
        arguments = train_arguments(project=str(folder), **{**settings, **changes})
        detector = YOLO(str(model))
        if stop_in_epoch is not None:

            def stop(trainer: Any) -> None:
                if trainer.epoch == stop_in_epoch:
                    raise Stopped

            detector.add_callback("on_train_batch_end", stop)
        try:
            detector.train(trainer=trainer, data=str(dataset("detect")), **arguments)
        except Stopped:
            assert stop_in_epoch is not None
        return detector.trainer

    return run


def tensors(folder: Path, name: str) -> dict[str, Tensor]:
    checkpoint = torch.load(folder / "run" / "weights" / name, weights_only=False)
    return checkpoint["model"].state_dict()


def seen(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "seen.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def digests(folder: Path) -> list[str]:
    return [line["digest"] for line in seen(folder)]


def results(folder: Path) -> list[list[str]]:
    lines = (folder / "run" / "results.csv").read_text().splitlines()
    # the second column is the time
    return [[cell for n, cell in enumerate(line.split(",")) if n != 1] for line in lines]


def assert_same_training(first: Path, second: Path) -> None:
    for name in ("last.pt", "best.pt"):
        one, other = tensors(first, name), tensors(second, name)
        assert one.keys() == other.keys()
        different = [key for key in one if not torch.equal(one[key], other[key])]
        assert not different, f"{len(different)} of {len(one)} tensors of {name} differ"
    assert seen(first) == seen(second)
    assert results(first) == results(second)


class Record:
    """A training that nothing interrupted, and what happened in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.steps: list[tuple[int, int]] = []
        self.events: list[str] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Note images, steps and events from now on."""
        load, step = EpochLoader.__iter__, DetectionTrainer.optimizer_step
        run_callbacks = DetectionTrainer.run_callbacks

        def loading(loader: EpochLoader) -> Iterator[Any]:
            for batch in load(loader):
                self.names.extend(Path(name).name for name in batch["im_file"])
                yield batch

        def stepping(trainer: Any) -> None:
            self.steps.append((trainer.epoch, trainer.ema.updates))
            step(trainer)

        def calling(trainer: Any, event: str) -> None:
            self.events.append(event)
            run_callbacks(trainer, event)

        patch.setattr(EpochLoader, "__iter__", loading)
        patch.setattr(DetectionTrainer, "optimizer_step", stepping)
        patch.setattr(DetectionTrainer, "run_callbacks", calling)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return Record(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def whole(train: Train, record: Record) -> Path:
    """Return the folder of the training that nothing interrupted, made once."""
    if not (record.folder / "run").exists():
        with pytest.MonkeyPatch.context() as patch:
            record.watch(patch)
            train(record.folder)
    return record.folder


# -- what is shown -----------------------------------------------------------------------------


def test_every_epoch_shows_every_image_once_in_another_order(whole: Path, record: Record) -> None:
    n = NUM_TRAINING_IMAGES
    epochs = [tuple(record.names[n * epoch : n * (epoch + 1)]) for epoch in range(EPOCHS)]
    assert len(record.names) == EPOCHS * n
    assert all(sorted(names) == sorted(set(record.names)) for names in epochs)
    assert len(set(epochs)) == EPOCHS
    assert [line["images"] for line in seen(whole)] == [n] * EPOCHS


class DrawsRandomNumbers(nn.Module):
    """Passes its input on, and disturbs every generator there is."""

    def forward(self, x: Tensor) -> Tensor:
        random.random()
        np.random.rand()
        torch.rand(3)
        return x


def test_a_network_that_draws_random_numbers_sees_the_same(
    train: Train, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_model = RepeatableDetectionTrainer.get_model

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        network = get_model(*args, **kwargs)
        network.model[0].act = nn.Sequential(network.model[0].act, DrawsRandomNumbers())
        return network

    monkeypatch.setattr(RepeatableDetectionTrainer, "get_model", disturbed)
    train(tmp_path)
    assert seen(tmp_path) == seen(whole)
    # whose own random numbers come from seed and epoch, too
    assert results(tmp_path) == results(whole)


def test_another_seed_shows_something_else(train: Train, whole: Path, tmp_path: Path) -> None:
    train(tmp_path, seed=1, stop_in_epoch=1)
    assert len(set(digests(whole))) == EPOCHS
    assert len(digests(tmp_path)) == 1
    assert digests(tmp_path)[0] not in digests(whole)


def batches(loader: Any, epoch: int) -> tuple[list[str], str]:
    loader.begin_epoch(epoch)
    names = [name for batch in loader for name in batch["im_file"]]
    return names, loader.seen.hexdigest()


def test_loader_processes_change_the_augmentation_and_not_the_order(
    train: Train, tmp_path: Path
) -> None:
    stock = train(tmp_path, stop_in_epoch=0).train_loader

    def loader(num_workers: int, seed: int = 0) -> Any:
        return EpochLoader(stock, seed=seed, num_workers=num_workers)

    alone, two = batches(loader(0), 1), batches(loader(2), 1)
    assert two[0] == alone[0]
    assert two[1] != alone[1]
    # as if the first epoch had not been
    again = loader(2)
    batches(again, 0)
    assert batches(again, 1) == two
    # before 8.4.124 these were equal in Ultralytics
    assert batches(loader(2, seed=1), 1)[1] != two[1]


def test_random_numbers_go_on_where_they_were() -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), torch.rand(1).item()]

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [draw(), draw()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    found = [draw()]
    with random_numbers_from(5):
        inside = draw()
    found.append(draw())
    assert found == expected
    with random_numbers_from(5):
        assert draw() == inside
    with random_numbers_from(6):
        assert draw() != inside


def test_seeds_of_neighbours_do_not_meet() -> None:
    made = {mixed_seed(seed, 0, epoch) for seed in range(20) for epoch in range(300)}
    assert len(made) == 20 * 300


# -- interruptions -----------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_interruption_changes_nothing(
    train: Train, whole: Path, tmp_path: Path, epoch: int
) -> None:
    # also not the gradients that wait for a step: three batches make one, an epoch has two
    train(tmp_path, stop_in_epoch=epoch)
    assert len(seen(tmp_path)) == epoch
    train(tmp_path)
    assert_same_training(whole, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_rtdetr_is_interrupted_without_a_change(train: Train, tmp_path: Path, epoch: int) -> None:
    torch.manual_seed(0)
    config = {**small_config("rtdetr-l-mlla"), "nc": NUM_CLASSES, "scale": "l"}
    network = RTDETRDetectionModel(config, nc=NUM_CLASSES, verbose=False)
    model = write_start(tmp_path / "start.pt", network)
    for folder, stop in (("whole", None), ("stopped", epoch), ("stopped", None)):
        train(
            tmp_path / folder,
            model=model,
            trainer=RepeatableRTDETRTrainer,
            stop_in_epoch=stop,
            # older decoders want more places than a smaller image has
            imgsz=64,
        )
    assert_same_training(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        # the share of the one-to-many head fades over the epochs
        ("yolo26n", {"optimizer": "MuSGD"}),
        ("yolov10n", {"optimizer": "SGD", "multi_scale": 0.5, "imgsz": 64}),
        # a loss with a memory
        ("yolov8n-mlla", {"cls_loss": "ema_slide"}),
        ("yolov8n", {"cache": "ram", "close_mosaic": 0, "mixup": 0.5}),
    ],
)
def test_every_memory_survives(
    train: Train, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    try:
        config = model_config(f"{name}.yaml")
    except (FileNotFoundError, ValueError):
        pytest.skip(f"this release has no {name}")
    if "multi_scale" in settings and not hasattr(torch_utils, "unwrap_model"):
        settings = {**settings, "multi_scale": True}
    torch.manual_seed(0)
    network = DetectionModel(config, nc=NUM_CLASSES, verbose=False)
    model = write_start(tmp_path / "start.pt", network)
    for folder, stop in (("whole", None), ("stopped", 2), ("stopped", None)):
        train(tmp_path / folder, model=model, stop_in_epoch=stop, **settings)
    assert_same_training(tmp_path / "whole", tmp_path / "stopped")


def train_in_two_processes(model: Path, data: Path, folder: Path, stop_in_epoch: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    shared = {**os.environ, **address, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("repeatable_gloo_worker.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, model, data, folder, str(stop_in_epoch)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_two_processes_are_interrupted_without_a_change(
    start: Path, dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    for folder, stop in (("whole", -1), ("stopped", 1), ("stopped", -1)):
        train_in_two_processes(start, dataset("detect"), tmp_path / folder, stop)
    one, other = (
        torch.load(tmp_path / folder / "run" / "weights" / "last.pt", weights_only=False)["ema"]
        for folder in ("whole", "stopped")
    )
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    assert seen(tmp_path / "whole") == seen(tmp_path / "stopped")
    # the digest is that of the first process, which sees half of the images
    assert [line["images"] for line in seen(tmp_path / "whole")] == [NUM_TRAINING_IMAGES / 2] * 3


def test_steps_are_made_where_ultralytics_makes_them(
    train: Train, whole: Path, record: Record, tmp_path: Path
) -> None:
    stock = Record(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        stock.watch(patch)
        train(tmp_path, trainer=DetectionTrainer)
    assert record.steps == stock.steps
    assert len(stock.steps) < EPOCHS * NUM_TRAINING_IMAGES / 2
    assert record.events == stock.events


def after_two_epochs(whole: Path, folder: Path) -> Path:
    """Copy a training as it was before its last epoch; the last one writes no state."""
    shutil.copytree(whole / "run", folder / "run")
    (folder / "run" / "trained.json").unlink()
    return folder / "run" / "weights" / "state.pt"


def test_a_crash_while_checkpoints_are_stripped_keeps_them(
    train: Train, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(file: Path, *_: object, **__: object) -> None:
        Path(file).write_bytes(b"half a file")
        raise Stopped

    after_two_epochs(whole, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("ultralytics.engine.trainer.strip_optimizer", crash)
        train(tmp_path, stop_in_epoch=EPOCHS)
    weights = tmp_path / "run" / "weights"
    assert torch.load(weights / "last.pt", weights_only=False)["ema"] is not None
    assert torch.load(weights / "best.pt", weights_only=False)
    assert not (tmp_path / "run" / "trained.json").exists()
    # repeats the last epoch
    train(tmp_path)
    assert_same_training(whole, tmp_path)


def test_what_comes_out_is_written_at_the_end(whole: Path) -> None:
    trained = json.loads((whole / "run" / "trained.json").read_text())
    assert trained["seen"] == digests(whole)
    assert trained["epochs"] == EPOCHS
    # what Ultralytics prints for yolov8n with two classes
    assert trained["parameters"] == sum(
        value.numel() for key, value in tensors(whole, "last.pt").items() if is_parameter(key)
    )
    # that of results.csv, and of saving the last checkpoints
    assert times(whole)[-1] < trained["train_seconds"] < 3 * times(whole)[-1]
    assert trained["peak_memory_kind"] == "process"
    assert trained["device"]


def is_parameter(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def times(folder: Path) -> list[float]:
    lines = (folder / "run" / "results.csv").read_text().splitlines()[1:]
    return [float(line.split(",")[1]) for line in lines]


def test_time_goes_on_after_an_interruption(train: Train, whole: Path, tmp_path: Path) -> None:
    state_file = after_two_epochs(whole, tmp_path)
    state = torch.load(state_file, weights_only=True)
    torch.save({**state, "seconds": 1000.0}, state_file)
    train(tmp_path)
    assert times(tmp_path)[:2] == times(whole)[:2]
    assert times(tmp_path)[2] > 1000


# -- refusals ----------------------------------------------------------------------------------


def test_weights_that_would_not_all_be_used_are_refused(train: Train, tmp_path: Path) -> None:
    network = DetectionModel(model_config("yolov8n.yaml"), nc=5, verbose=False)
    model = write_start(tmp_path / "start.pt", network)
    with pytest.raises(ValueError, match=r"of its 355 tensors are not what the training would"):
        train(tmp_path, model=model)


def test_the_state_of_another_training_is_refused(
    train: Train, whole: Path, tmp_path: Path
) -> None:
    state_file = after_two_epochs(whole, tmp_path)
    network = DetectionModel(model_config("yolov8n.yaml"), nc=NUM_CLASSES, verbose=False)
    with pytest.raises(ValueError, match="began with other weights"):
        train(tmp_path, model=write_start(tmp_path / "start.pt", network))
    state_file.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="remove it to train from the start"):
        train(tmp_path)


@pytest.mark.parametrize("what", ["the loss", "tensors such as"])
def test_nan_ends_the_training(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    step = RepeatableDetectionTrainer.optimizer_step

    def spoil(trainer: Any) -> None:
        step(trainer)
        if what == "the loss":
            trainer.loss = trainer.loss * float("nan")
        else:
            trainer.model.model[0].conv.weight.data[0] = float("inf")

    monkeypatch.setattr(RepeatableDetectionTrainer, "optimizer_step", spoil)
    with pytest.raises(FloatingPointError, match=rf"epoch 1: .*{what}.* became NaN"):
        train(tmp_path, nbs=2)


def test_no_arm_trains_with_a_smaller_batch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(DetectionModel, "loss", exhausted)
    with pytest.raises((MemoryError, RuntimeError), match="memory"):
        train(tmp_path)
    assert not (tmp_path / "run" / "weights" / "last.pt").exists()


# -- surroundings ------------------------------------------------------------------------------


def test_ultralytics_keeps_the_threads_it_is_given() -> None:
    before, constant = torch.get_num_threads(), torch_utils.NUM_THREADS
    try:
        use_threads(2)
        torch_utils.select_device("cpu")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
        torch_utils.NUM_THREADS = constant


def test_peak_memory_follows_what_is_used() -> None:
    device = torch.device("cpu")
    before, kind = peak_memory(device)
    block = torch.ones(before // 4)
    assert block.nbytes <= peak_memory(device)[0] <= 1.5 * before + block.nbytes
    assert kind == "process"
    assert processor_name(device)
