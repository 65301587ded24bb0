"""Training by several processes: on the CPU here, with what Ultralytics writes for GPUs."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import ultralytics
from ultralytics.utils.dist import ddp_cleanup, generate_ddp_file

from mlla.yolo import YOLO, plug
from mlla.yolo.trainers import TRAINERS

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
# from here on the children get the pickled model, before that the arguments only
GETS_THE_MODEL = VERSION >= (8, 4, 145)


def train_in_two_processes(
    model: str, data: Path, folder: Path, cls_loss: str = "bce"
) -> list[dict[str, object]]:
    """Return what either process saw."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                Path(__file__).with_name("gloo_worker.py"),
                *(model, data, folder, cls_loss),
            ],
            cwd=folder,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        for worker in workers:
            output, _ = worker.communicate(timeout=300)
            assert worker.returncode == 0, output
    finally:
        for worker in workers:
            worker.kill()
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(
    "model",
    [
        "yolov8n-mlla.yaml",
        pytest.param("yolov8n-c2f-mlla.yaml", marks=pytest.mark.slow),
        pytest.param("yolov8n-mlla-backbone.yaml", marks=pytest.mark.slow),
        pytest.param("yolov8n-mlla-tiny.yaml", marks=pytest.mark.slow),
        pytest.param("plugged.pt", marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_one_model_without_idle_parameters(
    model: str,
    dataset: Callable[[str], Path],
    private_folder: Path,
    stock_checkpoint: Callable[[str], Path],
) -> None:
    if model == "plugged.pt":
        plug(stock_checkpoint("yolov8n")).save(private_folder / model)
    ranks = train_in_two_processes(model, dataset("detect"), private_folder)
    assert [rank["processes"] for rank in ranks] == [2, 2]
    assert [rank["without_gradient"] for rank in ranks] == [set(), set()]
    starts, ends = ([rank[when] for rank in ranks] for when in ("start", "end"))
    assert ends[0].keys() == ends[1].keys() == starts[0].keys()
    for name, tensor in ends[0].items():
        assert torch.equal(starts[0][name], starts[1][name]), name
        assert torch.equal(tensor, ends[1][name]), name
    # vectors may stand still: a normalisation behind them undoes any shift
    matrices = {name for name, tensor in ends[0].items() if tensor.dim() > 1}
    moved = {name for name in matrices if not torch.equal(ends[0][name], starts[0][name])}
    assert len(moved) > 0.9 * len(matrices)
    files = {file.name for file in (private_folder / "run" / "weights").iterdir()}
    assert files == {"best.pt", "last.pt"}


@pytest.mark.slow
def test_two_processes_train_with_one_class_loss(
    dataset: Callable[[str], Path], private_folder: Path
) -> None:
    ranks = train_in_two_processes(
        "yolov8n.yaml", dataset("detect"), private_folder, cls_loss="ema_slide"
    )
    assert [rank["class_loss"] for rank in ranks] == ["EMASlideLoss"] * 2
    ends = [rank["end"] for rank in ranks]
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name
    # what the first process saw goes into the checkpoint: one batch in each of two epochs
    (state,) = YOLO(private_folder / "run" / "weights" / "last.pt").model.yaml["cls_loss_state"]
    assert state["_extra_state"]["num_updates"] == 2


def test_the_child_of_a_multi_gpu_training_builds_our_model(
    dataset: Callable[[str], Path],
    train_arguments: Callable[..., dict[str, object]],
    private_folder: Path,
    fresh_python: Callable[..., str],
) -> None:
    # Ultralytics writes this file and runs it once per GPU; run here, it trains on the CPU
    if GETS_THE_MODEL:
        pytest.importorskip("cloudpickle", reason="Ultralytics sends the model by cloudpickle")
    model = YOLO("yolov8n-mlla")
    arguments = {**train_arguments(), "data": str(dataset("detect"))}
    trainer = TRAINERS["detect"](
        overrides={**arguments, "model": "yolov8n-mlla.yaml"}, _callbacks=model.callbacks
    )
    trainer.hub_session = None
    if GETS_THE_MODEL:
        trainer.model = trainer.get_model(cfg=model.model.yaml, weights=None)
    file = generate_ddp_file(trainer)
    try:
        assert "mlla" in Path(file).read_text() or GETS_THE_MODEL
        fresh_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", file)
    finally:
        ddp_cleanup(trainer, str(file))
    network = YOLO(private_folder / "run" / "weights" / "last.pt").model
    assert network.model[22].type == "mlla.yolo.rows.MLLABlocks"
    assert network.nc == 2


def test_what_several_devices_need_is_named(
    monkeypatch: pytest.MonkeyPatch, dataset: Callable[[str], Path]
) -> None:
    monkeypatch.setattr(ultralytics, "__version__", "8.4.145")
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'cloudpickle>=3\.1\.1'"):
        YOLO("yolov8n-mlla").train(data=str(dataset("detect")), device=[0, 1])


def test_trainers_can_be_imported_by_a_child() -> None:
    for trainer in TRAINERS.values():
        module = sys.modules[trainer.__module__]
        assert trainer.__module__ == "mlla.yolo.trainers"
        assert getattr(module, trainer.__qualname__) is trainer
