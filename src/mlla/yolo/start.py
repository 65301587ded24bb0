# SPDX-License-Identifier: AGPL-3.0-only
"""Initial networks of the arms of a comparison, equal wherever two of them share a layer."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mlla.yolo.block_names import resolved
from mlla.yolo.checked_model import CheckedModel
from mlla.yolo.expand import Config, matching_rows, rows_of, with_absolute_sources
from mlla.yolo.model import YOLO
from mlla.yolo.plug import plugged_config, rebuilt
from mlla.yolo.transfer import rename_rows


class Design(Protocol):
    """What an arm says about its network; see `mlla.study.planning.arms.Arm`."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def block(self) -> str | None: ...  # noqa: D102
    @property
    def at(self) -> str | int | list[int] | None: ...  # noqa: D102
    @property
    def gate(self) -> str | None: ...  # noqa: D102
    @property
    def python_path(self) -> tuple[str, ...]: ...  # noqa: D102


def build_start(
    arm: Design,
    baseline: Design,
    *,
    seed: int,
    num_classes: int,
    pretrained: str | Path | None = None,
) -> tuple[CheckedModel, dict[str, int]]:
    """Build an arm as its training with a seed starts.

    The baseline is built under the seed and takes what fits of the pretrained weights, row by row.
    Every other arm is built under the seed, too, and takes each tensor that it shares with the
    baseline of that seed. An arm whose model is a checkpoint keeps the checkpoint's weights. The
    random numbers of the caller stay as they were.

    Args:
        arm: The arm.
        baseline: The baseline of the study; the arm itself for its own run.
        seed: Seed of everything that is drawn.
        num_classes: Number of classes of the dataset.
        pretrained: Checkpoint that the baseline, and with it every arm, starts from.

    Returns:
        The model and counts: its `parameters` and, found by comparing tensors, `tensors` of the
        arm, `baseline_tensors`, of which the arm has `shared_with_baseline`, and
        `pretrained_tensors` of the checkpoint it starts from, of which it has `pretrained_kept`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If an arm is no detector or cannot be built, or weights are given twice.
    """
    for design in (baseline, arm):
        if pretrained is not None and _is_checkpoint(design.model):
            raise ValueError(
                f"pretrained={str(pretrained)!r}: {design.model} is a checkpoint and brings its "
                "own weights; name the model without them, such as yolov8n, or leave out pretrained"
            )
    with _own_random_numbers():
        first = _build(baseline, seed, num_classes)
        weights = None if pretrained is None else CheckedModel(pretrained).model
        weights = first.own_weights if weights is None else weights
        if weights is not None:
            first.take(weights)
        start = first if arm == baseline else _build(arm, seed, num_classes)
        if start.own_weights is not None:
            weights = start.own_weights
            start.take(first.network)
            start.take(weights)
        elif start is not first:
            # rows that the baseline lacks may be in the checkpoint
            if weights is not None:
                start.take(weights)
            start.take(first.network)
    shared, of_baseline = start.count_equal(first.network)
    kept, of_weights = (0, 0) if weights is None else start.count_equal(weights)
    return start.model, {
        "parameters": sum(parameter.numel() for parameter in start.network.parameters()),
        "tensors": len(start.network.state_dict()),
        "shared_with_baseline": shared,
        "baseline_tensors": of_baseline,
        "pretrained_kept": kept,
        "pretrained_tensors": of_weights,
    }


def refuse_equal_networks(arms: Sequence[Design], num_classes: int) -> None:
    """Raise if two arms are the same network with the same start; identities may be.

    Args:
        arms: The arms of a study, the baseline first. All but those of existing runs are built.
        num_classes: Number of classes of the dataset.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If two arms are equal, or one is no detector or cannot be built.
    """
    seen: dict[str, str] = {}
    plain: dict[str, _Built] = {}
    for arm in arms:
        if arm.kind in ("identity", "added"):
            continue
        with _own_random_numbers():
            if arm.model not in plain:
                plain[arm.model] = _build_plain(arm.model, 0, num_classes)
            network = _with_block(plain[arm.model], arm, 0).network
        brings_weights = next((a.model for a in (arm, arms[0]) if _is_checkpoint(a.model)), None)
        weights = brings_weights and hashlib.sha256(Path(brings_weights).read_bytes()).hexdigest()
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        other = seen.setdefault(repr((weights, _layout(network.yaml), shapes)), arm.name)
        if other != arm.name:
            raise ValueError(
                f"the arms {other!r} and {arm.name!r} build the same network, so their difference "
                "would be chance; leave one of them out (plug=identity@neck shows chance on "
                "purpose)"
            )


@dataclass(frozen=True)
class _Built:
    """A network, and where it has the rows of its model before a block was plugged in."""

    model: CheckedModel
    plain: Config
    row_map: Mapping[int, int]
    own_weights: Any

    @property
    def network(self) -> Any:
        return self.model.model

    def take(self, source: Any) -> None:
        """Take every tensor of another network that has its place and shape here."""
        own = self.network.state_dict()
        fitting = {n: t for n, t in self._renamed(source).items() if t.shape == own[n].shape}
        self.network.load_state_dict(fitting, strict=False)

    def count_equal(self, source: Any) -> tuple[int, int]:
        """Count the tensors of another network that are here, number by number; and all of them."""
        own = self.network.state_dict()
        equal = sum(torch.equal(tensor, own[n]) for n, tensor in self._renamed(source).items())
        return equal, len(source.state_dict())

    def _renamed(self, source: Any) -> dict[str, Tensor]:
        rows = matching_rows(source.yaml, self.network.yaml)
        # among equal rows only the plug itself knows where it went
        row_map = {old: row for old, row in rows.items() if row not in self.row_map.values()}
        rows = matching_rows(source.yaml, self.plain)
        row_map.update((old, self.row_map[row]) for old, row in rows.items())
        own = self.network.state_dict()
        renamed = rename_rows(source.float().state_dict(), row_map)
        return {name: tensor for name, tensor in renamed.items() if name in own}


def _build(design: Design, seed: int, num_classes: int) -> _Built:
    """Build an untrained network under a seed."""
    return _with_block(_build_plain(design.model, seed, num_classes), design, seed)


def _build_plain(model: str, seed: int, num_classes: int) -> _Built:
    original = YOLO(model)
    if original.task != "detect":
        raise ValueError(f"{model} is a model for the task {original.task!r}; arms are detectors")
    own_weights = original.model if _is_checkpoint(model) else None
    _seed(seed)
    plain = rebuilt(original, {**original.model.yaml, "nc": num_classes})
    rows = range(len(plain.model.model))
    return _Built(plain, plain.model.yaml, {row: row for row in rows}, own_weights)


def _with_block(plain: _Built, design: Design, seed: int) -> _Built:
    if design.block is None or design.at is None:
        return plain
    block, _ = resolved(design.block, design.python_path)
    config, row_map = plugged_config(plain.network, block, design.at, design.gate or "zero")
    _seed(seed)
    return replace(plain, model=rebuilt(plain.model, config), row_map=row_map)


def _layout(config: Config) -> tuple[Any, ...]:
    """Return what a configuration says besides names; repeats and scale show in the shapes."""
    rows = [(sources, *rest) for sources, _, *rest in with_absolute_sources(rows_of(config))]
    names = ("backbone", "head", "yaml_file", "plug", "scale", "scales")
    return rows, sorted((key, repr(value)) for key, value in config.items() if key not in names)


def _is_checkpoint(model: str) -> bool:
    return Path(model).suffix == ".pt"


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    # that of the CPU, where all is built
    torch.default_generator.manual_seed(seed)


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
