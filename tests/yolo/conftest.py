"""Private settings, small datasets and fresh processes for the tests of floor 5."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# before anything imports ultralytics: its settings file must not be the user's
os.environ["YOLO_CONFIG_DIR"] = tempfile.mkdtemp(prefix="mlla-yolo-settings-")
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_VERBOSE"] = "false"

import numpy as np
import pytest
import torch
from PIL import Image

# height and width of the images that every dataset holds: validation gets rectangular batches
IMAGE_SIZES = [(48, 64), (64, 40), (33, 61), (64, 64), (40, 56), (56, 32)]
NUM_VALIDATION_IMAGES = 2


def pytest_sessionfinish() -> None:
    shutil.rmtree(os.environ["YOLO_CONFIG_DIR"], ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Same-seed runs are bit-identical only at the same number of threads, and maps are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def private_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let every test run in an empty folder, where bare names find no file of the user."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- fresh processes ---------------------------------------------------------------------------


def _environment(**extra: str) -> dict[str, str]:
    # RANK and its companions would turn the child into a worker of multi-GPU training
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **extra}


def run_command(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command to its end and return what it printed; fail the test if it fails."""
    process = subprocess.run(
        command,
        cwd=folder,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = process.stdout + process.stderr
    assert process.returncode == 0, f"{command} failed with {process.returncode}:\n{output}"
    return output


@pytest.fixture
def fresh_python(tmp_path: Path) -> Callable[..., str]:
    """Run Python code in a process that has imported nothing yet."""

    def run(code: str, *arguments: object, **environment: str) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return run_command(command, tmp_path, **environment)

    return run


@pytest.fixture
def stock_yolo(tmp_path: Path) -> Callable[..., str]:
    """Run Ultralytics' own `yolo` command, which knows nothing of mlla."""
    found = shutil.which("yolo", path=str(Path(sys.executable).parent))
    assert found, "the yolo command is not installed beside this python"

    def run(*arguments: object, **environment: str) -> str:
        return run_command([found, *map(str, arguments)], tmp_path, **environment)

    return run


# -- datasets ----------------------------------------------------------------------------------


def _write_image(path: Path, size: tuple[int, int], seed: int) -> None:
    height, width = size
    pixels = np.random.default_rng(seed).integers(0, 90, (height, width, 3), dtype=np.uint8)
    # the object: a bright box over the middle, which every label below describes
    pixels[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4, seed % 3] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


_KEYPOINTS = " ".join(f"{0.3 + 0.02 * i:.2f} {0.3 + 0.02 * i:.2f} 2" for i in range(17))
_LABELS = {
    "detect": "{cls} 0.5 0.5 0.5 0.5",
    "segment": "{cls} 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75",
    "obb": "{cls} 0.25 0.25 0.75 0.3 0.7 0.75 0.25 0.7",
    "pose": f"0 0.5 0.5 0.5 0.5 {_KEYPOINTS}",
}


def write_dataset(folder: Path, task: str) -> Path:
    """Write six images with one object each; return what `data=` takes."""
    for number, size in enumerate(IMAGE_SIZES):
        part = "val" if number < NUM_VALIDATION_IMAGES else "train"
        label = number % 2
        if task == "classify":
            _write_image(folder / part / "ab"[label] / f"{number}.png", size, number)
            continue
        _write_image(folder / "images" / part / f"{number}.png", size, number)
        text = folder / "labels" / part / f"{number}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text(_LABELS[task].format(cls=label) + "\n")
    if task == "classify":
        return folder
    names = "{0: person}" if task == "pose" else "{0: a, 1: b}"
    keypoints = "kpt_shape: [17, 3]\n" if task == "pose" else ""
    yaml = folder / "data.yaml"
    yaml.write_text(
        f"path: {folder}\ntrain: images/train\nval: images/val\nnames: {names}\n{keypoints}"
    )
    return yaml


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the dataset of a task, written once."""
    written: dict[str, Path] = {}

    def get(task: str) -> Path:
        if task not in written:
            written[task] = write_dataset(tmp_path_factory.mktemp(f"data-{task}"), task)
        return written[task]

    return get


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image that no dataset holds."""
    path = tmp_path_factory.mktemp("image") / "unseen.png"
    _write_image(path, (48, 64), seed=99)
    return path


def _train_arguments(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "imgsz": 64,
        "epochs": 1,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "amp": False,
        "plots": False,
        "optimizer": "SGD",
        "lr0": 0.01,
        # every batch makes a full step
        "nbs": 2,
        "warmup_epochs": 0,
        "seed": 0,
        "project": str(folder),
        "name": "run",
        "exist_ok": True,
        "verbose": False,
        **changes,
    }


@pytest.fixture
def train_arguments(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return arguments for the smallest training on CPU that is still one."""

    def get(**changes: Any) -> dict[str, Any]:
        return _train_arguments(tmp_path, **changes)

    return get


# -- models ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stock_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Save a randomly initialised stock model as a .pt, as if it were a published one."""
    import ultralytics

    saved: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in saved:
            torch.manual_seed(len(saved))
            model = ultralytics.YOLO(f"{name}.yaml")
            # as after training: statistics and weights differ from their initial ones
            with torch.no_grad():
                for tensor in model.model.state_dict().values():
                    if tensor.is_floating_point():
                        tensor.add_(0.02 * torch.rand_like(tensor))
            path = tmp_path_factory.mktemp("stock") / f"{name}.pt"
            # published files say what they were trained for
            model.ckpt = {"train_args": {"task": model.task}}
            model.save(path)
            saved[name] = path
        return saved[name]

    return get


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, dataset: Callable[[str], Path]) -> Path:
    """Return the run folder of yolov8n-mlla after one epoch."""
    from mlla.yolo import YOLO

    folder = tmp_path_factory.mktemp("trained")
    YOLO("yolov8n-mlla.yaml").train(data=str(dataset("detect")), **_train_arguments(folder))
    return folder / "run"
