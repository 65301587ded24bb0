"""Which parameters of a scan the optimizers decay, for each optimizer of Ultralytics."""

from types import SimpleNamespace

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer as StockTrainer

from mlla.layers import FourWayScan
from mlla.yolo import YOLO
from mlla.yolo.trainers import DetectionTrainer

VERSION = tuple(int(part) for part in ultralytics.__version__.split(".")[:3])
NAMES = ["auto", "SGD", "Adam", "AdamW", "RMSProp"] + ["MuSGD"] * (VERSION >= (8, 4, 0))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return YOLO("mamba-yolo-t").model


def optimizer_of(trainer: type, network: nn.Module, name: str, decay: float = 5e-4):
    running = trainer.__new__(trainer)
    running.args = SimpleNamespace(lr0=0.01, momentum=0.9, warmup_bias_lr=0.1, optimizer=name)
    running.data = {"nc": 80}
    return running.build_optimizer(network, name=name, lr=0.01, momentum=0.9, decay=decay)


def groups_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict]:
    """Return the group that every parameter is in, by name; each is in exactly one."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    groups = {
        names[id(parameter)]: group
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(groups)
    assert set(groups) == set(names.values())
    return groups


@pytest.mark.parametrize("name", NAMES)
def test_rates_skips_and_step_biases_are_not_decayed(name: str, network: nn.Module) -> None:
    groups = groups_of(network, optimizer_of(DetectionTrainer, network, name))
    scans = [n for n, module in network.named_modules() if isinstance(module, FourWayScan)]
    assert len(scans) == 10
    for scan in scans:
        for parameter in ("A_log", "D", "dt_proj_bias"):
            group = groups[f"{scan}.{parameter}"]
            assert group["weight_decay"] == 0
            assert not group.get("use_muon")
        for parameter in ("x_proj_weight", "dt_proj_weight"):
            assert groups[f"{scan}.{parameter}"]["weight_decay"] == 5e-4
    norm = groups["model.1.blocks.0.scan_norm.weight"]
    assert groups["model.1.blocks.0.scan.scan.A_log"] is norm


@pytest.mark.parametrize("name", NAMES)
def test_everything_else_is_as_ultralytics_has_it(name: str, network: nn.Module) -> None:
    optimizers = [
        optimizer_of(trainer, network, name) for trainer in (DetectionTrainer, StockTrainer)
    ]
    ours, theirs = (groups_of(network, optimizer) for optimizer in optimizers)
    moved = set()
    for parameter, group in ours.items():
        settings, stock_settings = (
            {key: value for key, value in g.items() if key != "params"}
            for g in (group, theirs[parameter])
        )
        if settings != stock_settings:
            moved.add(parameter.rpartition(".")[2])
    # a name with "bias" is spared already, except by MuSGD, which asks for the shape first
    by_shape = {"dt_proj_bias"} if type(optimizers[0]).__name__ == "MuSGD" else set()
    assert moved == {"A_log", "D"} | by_shape


@pytest.mark.skipif(VERSION < (8, 4, 0), reason="this Ultralytics has no MuSGD")
def test_musgd_does_not_orthogonalise_vectors_when_nothing_decays(network: nn.Module) -> None:
    groups = groups_of(network, optimizer_of(DetectionTrainer, network, "MuSGD", decay=0.0))
    assert not groups["model.1.blocks.0.scan.scan.D"]["use_muon"]


def test_a_model_without_scans_keeps_its_groups() -> None:
    network = YOLO("yolov8n-mlla").model
    ours, theirs = (
        [len(g["params"]) for g in optimizer_of(trainer, network, "SGD").param_groups]
        for trainer in (DetectionTrainer, StockTrainer)
    )
    assert ours == theirs
