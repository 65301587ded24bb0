"""What each row costs: parameters, operations and throughput, beside what was published."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from mlla.models.count_flops import count_flops
from mlla.models.six_designs import model_name
from mlla.study.costs.latency import interleaved_seconds, latencies
from mlla.study.files import read_json, write_json
from mlla.study.six_designs.published_effects import BASELINE

COSTS = "costs.json"
PUBLISHED_SIZE, PUBLISHED_IMAGE_SIZE = "tiny", 224
SECONDS_PER_ROW, BATCH = 3.0, 16


def row_costs(plan: Mapping[str, Any], out: Path) -> dict[str, dict[str, Any]]:
    """Return what each row costs; what was measured before is read from costs.json.

    Args:
        plan: The plan.
        out: Folder of the study.

    Returns:
        For each row "parameters" and "flops" of the network that is trained;
        "published_size_parameters" and "published_size_flops", the same at the size of the paper;
        and "throughput", how many times as many images a second as the baseline takes, with its
        interval, as "median", "low" and "high", or None without a baseline.
    """
    key = {
        "rows": plan["rows"],
        "device": plan["settings"]["device"],
        "torch": torch.__version__,
        "machine": platform.node(),
    }
    file = out / COSTS
    if file.exists() and (kept := read_json(file))["key"] == key:
        return kept["costs"]
    costs = {row: _counts(plan, row) for row in plan["rows"]}
    for row, throughput in _throughputs(plan).items():
        costs[row]["throughput"] = throughput
    write_json(file, {"key": key, "costs": costs})
    return costs


def _counts(plan: Mapping[str, Any], row: str) -> dict[str, Any]:
    with torch.device("meta"):
        published = timm.create_model(_name(PUBLISHED_SIZE, row))
        trained = _trained_network(plan, row)
    return {
        "parameters": _num_parameters(trained),
        "flops": count_flops(trained, plan["image_size"]),
        "published_size_parameters": _num_parameters(published),
        "published_size_flops": count_flops(published, PUBLISHED_IMAGE_SIZE),
    }


def _throughputs(plan: Mapping[str, Any]) -> dict[str, dict[str, float] | None]:
    """Time batches of all rows in turns."""
    on_cpu = plan["settings"]["device"] == "cpu" or not torch.cuda.is_available()
    device = torch.device("cpu" if on_cpu else "cuda")
    pixels = torch.randn(BATCH, 3, plan["image_size"], plan["image_size"], device=device)
    calls = {
        row: _call(_trained_network(plan, row).to(device).eval(), pixels) for row in plan["rows"]
    }
    times = latencies(interleaved_seconds(calls, seconds_per_arm=SECONDS_PER_ROW), BASELINE)
    found = {}
    for row, time in times.items():
        ratio = time["ratio"]
        # twice the time is half the images
        ends = {"median": "median", "low": "high", "high": "low"}
        found[row] = ratio and {name: 1 / ratio[end] for name, end in ends.items()}
    return found


def _call(network: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.inference_mode():
            # reading a number waits for the device
            return network(pixels).sum().item()

    return call


def _trained_network(plan: Mapping[str, Any], row: str) -> nn.Module:
    return timm.create_model(
        _name(plan["size"], row),
        num_classes=len(plan["data"]["class_names"]),
        img_size=plan["image_size"],
    )


def _name(size: str, row: str) -> str:
    return model_name(size, "" if row == BASELINE else row)


def _num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
