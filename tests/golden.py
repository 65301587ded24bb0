"""The stored outputs of the published implementations, and how to compare with them."""

import json
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3


@cache
def _stored(file: str) -> tuple[dict, dict]:
    description = GOLDEN / f"{file}.json"
    if not description.exists():
        pytest.skip(f"the golden outputs of {file} are not beside this checkout")
    with np.load(GOLDEN / f"{file}.npz") as arrays:
        return json.loads(description.read_text()), dict(arrays)


def golden_case(file: str, name: str) -> dict:
    """Return the description of one case; skip the test where the outputs are not available."""
    return next(case for case in _stored(file)[0]["cases"] if case["case"] == name)


def golden_shapes(file: str, model: str) -> dict[str, list[int]]:
    """Return names and shapes of the original state dict of a model or a case."""
    return _stored(file)[0]["state_dict"][model]


def drawn(name: str, shape: list[int]) -> Tensor:
    """Draw the normal tensor that belongs to a name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return torch.from_numpy(generator.standard_normal(shape).astype(np.float32))


def filled(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Return an original state dict with the weights its names stand for."""
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def _weight(name: str, shape: list[int]) -> Tensor:
    noise, leaf = drawn(name, shape), name.rpartition(".")[2]
    if leaf == "running_var":
        return 1 + 0.1 * noise.abs()
    if leaf == "A_logs":
        return torch.arange(1, shape[-1] + 1).log() + 0.1 * noise
    if leaf == "Ds":
        return 1 + 0.1 * noise
    if leaf == "dt_projs_bias":
        return -4 + 0.5 * noise
    if len(shape) >= 2:
        fan_in = shape[-1] if len(shape) == 3 else int(np.prod(shape[1:]))
        return noise / fan_in**0.5
    return 1 + 0.1 * noise if leaf == "weight" else 0.1 * noise


def golden_error(file: str, case: str, array: str, ours: Tensor) -> float:
    """Return max |ours - golden| / max(1, max |golden|) over the stored values."""
    arrays = _stored(file)[1]
    prefix = f"{case}/{array}"
    assert list(ours.shape) == arrays[f"{prefix}/shape"].tolist()
    values = ours.detach().contiguous().flatten()
    sample = np.linspace(0, values.numel() - 1, min(512, values.numel())).astype(np.int64)
    mean, std, largest = arrays[f"{prefix}/stats"]
    scale = max(1.0, float(largest))
    errors = (
        np.abs(values[sample].numpy() - arrays[f"{prefix}/values"]).max(),
        abs(values.mean().item() - mean),
        abs(values.std(correction=0).item() - std),
        abs(values.abs().max().item() - largest),
    )
    return float(max(errors)) / scale


def assert_golden(file: str, case: str, array: str, ours: Tensor) -> None:
    """Assert that a tensor is the stored one, to the tolerance of its kind."""
    tolerance = GRADIENT_TOLERANCE if array.startswith("grad") else OUTPUT_TOLERANCE
    error = golden_error(file, case, array, ours)
    assert error <= tolerance, f"{case}/{array} is off by {error:.3g}, allowed is {tolerance}"
