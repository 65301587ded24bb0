"""What a checkpoint of Ultralytics says of its training, read without running its code."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlla.study.audit.inert_pickle import Names, Record, plain, read_inert

# how torch calls the storages of the numbers that networks hold
_TYPES: dict[str, np.dtype[Any]] = {
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}


class CheckpointError(ValueError):
    """The file is no checkpoint that can be read; the message says what it is."""


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies in the file.

    Attributes:
        shape: Its shape.
        stride: Steps between neighbours, in numbers.
        offset: Where it begins in its storage, in numbers.
        storage: Name of the storage in the file.
        kind: Type of its numbers as torch calls the storage.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: str
    kind: str

    @property
    def size(self) -> int:
        """Number of its numbers."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, as far as it can be known without running it.

    Attributes:
        file: The file.
        content: Its entries; objects are records.
        names: What loading it for real would call and build.
    """

    file: Path
    content: dict[str, Any]
    names: Names

    @property
    def version(self) -> str | None:
        """The release of Ultralytics that wrote it."""
        version = self.content.get("version")
        return version if isinstance(version, str) else None

    @property
    def date(self) -> str | None:
        """When it was written."""
        date = self.content.get("date")
        return date if isinstance(date, str) else None

    @property
    def commit(self) -> str | None:
        """The commit of the working copy it was trained in."""
        git = plain(self.content.get("git"))
        return git.get("commit") if isinstance(git, dict) else None

    @property
    def is_finished(self) -> bool:
        """Whether the training came to its end, after which the optimizer is taken out."""
        return not isinstance(self.content.get("optimizer"), dict)

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments that the training ran with."""
        arguments = plain(self.content.get("train_args"))
        return arguments if isinstance(arguments, dict) else {}

    @property
    def metrics(self) -> dict[str, float]:
        """The scores of the epoch that it holds, on the validation images."""
        metrics = plain(self.content.get("train_metrics"))
        return metrics if isinstance(metrics, dict) else {}

    @cached_property
    def network(self) -> Record | None:
        """The network: the moving average where there is one."""
        for key in ("ema", "model"):
            if isinstance(found := self.content.get(key), Record):
                return found
        return None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration that the network was built from."""
        found = plain(_state(self.network).get("yaml"))
        return found if isinstance(found, dict) else {}

    @cached_property
    def tensors(self) -> dict[str, Stored]:
        """Parameters and buffers by name."""
        return dict(_tensors(self.network, ""))

    @cached_property
    def num_parameters(self) -> int:
        """Number of trained numbers."""
        parameters = dict(_tensors(self.network, "", buffers=False))
        return sum(stored.size for stored in parameters.values())

    def values(self, names: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Read tensors from the file.

        Args:
            names: Their names; what the network lacks, is damaged, or has numbers of a type that
                numpy does not know is left out.

        Yields:
            Name and values.
        """
        with zipfile.ZipFile(self.file) as archive:
            root = _root(archive)
            for name in names:
                stored = self.tensors.get(name)
                if stored is None or stored.kind not in _TYPES:
                    continue
                kind = _TYPES[stored.kind]
                try:
                    data = np.frombuffer(archive.read(f"{root}data/{stored.storage}"), kind)
                except (KeyError, ValueError, zipfile.BadZipFile):
                    # missing or damaged
                    continue
                strides = tuple(step * kind.itemsize for step in stored.stride)
                reach = sum(
                    (n - 1) * step for n, step in zip(stored.shape, stored.stride, strict=True)
                )
                if stored.size and stored.offset + reach < len(data):
                    view = np.lib.stride_tricks.as_strided(
                        data[stored.offset :], stored.shape, strides, writeable=False
                    )
                    yield name, view


def read_checkpoint(file: Path) -> Checkpoint:
    """Read a checkpoint; nothing that it names is imported or called.

    Args:
        file: A .pt file.

    Returns:
        Its content.

    Raises:
        CheckpointError: If it is no zip file, cut short, or holds no training of Ultralytics.
        OSError: If it cannot be opened.
    """
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{_root(archive)}data.pkl") as stream:
            content, names = read_inert(stream, _find_storage)
    except zipfile.BadZipFile as error:
        raise CheckpointError(
            f"{file} is cut short or no checkpoint of torch 1.6 or later ({error})"
        ) from error
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds {type(content).__name__}, no training of Ultralytics")
    checkpoint = Checkpoint(file, content, names)
    try:
        # laid out as a network, or not at all
        _ = checkpoint.tensors, checkpoint.num_parameters, checkpoint.config
        _ = checkpoint.arguments, checkpoint.metrics, checkpoint.commit
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    return checkpoint


def _root(archive: zipfile.ZipFile) -> str:
    """Return the folder inside the file that everything lies in."""
    found = [name for name in archive.namelist() if f"/{name}".endswith("/data.pkl")]
    if len(found) != 1:
        # with several, readers differ in which they take
        raise ValueError(f"it has {len(found)} entries data.pkl in place of one")
    return found[0].removesuffix("data.pkl")


def _find_storage(pid: Any) -> tuple[str, str]:
    """Return type and name of a storage, from ("storage", type, name, device, size)."""
    kind = pid[1]
    return str(getattr(kind, "name", kind)), str(pid[2])


def _state(module: Record | None) -> dict[str, Any]:
    return module.state if module is not None and isinstance(module.state, dict) else {}


def _tensors(
    module: Record | None, prefix: str, *, buffers: bool = True
) -> Iterator[tuple[str, Stored]]:
    """Walk through a network in the order of its state dict."""
    state = _state(module)
    transient = state.get("_non_persistent_buffers_set") or ()
    kinds = ("_parameters", "_buffers") if buffers else ("_parameters",)
    for kind in kinds:
        for name, tensor in (state.get(kind) or {}).items():
            stored = _stored(tensor)
            if stored is not None and name not in transient:
                yield f"{prefix}{name}", stored
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Record):
            yield from _tensors(child, f"{prefix}{name}.", buffers=buffers)


def _stored(tensor: Any) -> Stored | None:
    while isinstance(tensor, Record) and tensor.name.startswith("torch._utils._rebuild_parameter"):
        tensor = tensor.arguments[0]
    if not (isinstance(tensor, Record) and tensor.name == "torch._utils._rebuild_tensor_v2"):
        return None
    (kind, storage), offset, shape, stride = tensor.arguments[:4]
    return Stored(tuple(shape), tuple(stride), int(offset), storage, kind)
