"""Reading a pickle without running anything that it names.

A checkpoint of Ultralytics is a pickled network, and unpickling calls whatever the file asks for.
Here every class and function of the file is replaced by a record of how it was used.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

import numpy as np


class Record:
    """Stands for an object of the file: what it was made with, and the state it was given."""

    name = ""
    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Record:
        """Note the arguments, also where pickle makes an object without calling its class."""
        record = super().__new__(cls)
        record.arguments, record.state = arguments, None
        return record

    def __init__(self, *arguments: Any) -> None:
        """Take the same arguments as `__new__`."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state = {**(self.state or {}), key: value}

    def append(self, item: Any) -> None:
        """Add an item, for classes derived from list."""
        self.extend([item])

    def extend(self, items: Iterable[Any]) -> None:
        """Add items, for classes derived from list."""
        self.state = [*(self.state or []), *items]

    def add(self, item: Any) -> None:
        """Add an item, for classes derived from set."""
        self.extend([item])


class _Recorded(type):
    """Metaclass of records: a call, unlike the making of an empty object, is noted."""

    noted: set[str]

    def __call__(cls, *arguments: Any) -> Any:
        cls.noted.add(cls.name)  # type: ignore[attr-defined]
        return super().__call__(*arguments)


@dataclass
class Names:
    """What a pickle names.

    Attributes:
        called: Functions and classes that it calls.
        built: Classes of which it makes objects without a call.
    """

    called: set[str] = field(default_factory=set)
    built: set[str] = field(default_factory=set)


def read_inert(stream: IO[bytes], find_storage: Callable[[Any], Any]) -> tuple[Any, Names]:
    """Unpickle with records in place of everything but plain containers.

    Args:
        stream: The pickle.
        find_storage: Gets what the file says of data kept elsewhere; its answer takes its place.

    Returns:
        The content, and the names that loading it would use.

    Raises:
        ValueError: If it is no complete pickle.
    """
    named: set[str] = set()
    called: set[str] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            # a name with a dot reaches through a module for what that has imported
            full = f"{module}.{name}" if "." not in name else f"{module}:{name}"
            if full in ("collections.OrderedDict", "builtins.set", "__builtin__.set"):
                return OrderedDict if name == "OrderedDict" else set
            named.add(full)
            record: Any = _Recorded(name, (Record,), {"name": full, "noted": called})
            return record

        def persistent_load(self, pid: Any) -> Any:
            return find_storage(pid)

    try:
        content = Unpickler(stream).load()
    except Exception as error:
        # a damaged stream of instructions can raise anything
        raise ValueError(f"no readable pickle: {type(error).__name__}: {error}") from error
    return content, Names(called, named - called)


def plain(value: Any) -> Any:
    """Turn records of paths and numbers into text and numbers, at any depth."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if not isinstance(value, Record):
        return value
    if value.name.startswith("pathlib"):
        return str(PurePosixPath(*map(str, value.arguments)))
    if value.name.endswith(".multiarray.scalar"):
        kind, content = value.arguments
        text = content.arguments[0] if isinstance(content, Record) else content
        data = text if isinstance(text, bytes) else str(text).encode("latin1")
        return np.frombuffer(data, dtype=np.dtype(str(kind.arguments[0])))[0].item()
    return plain(value.state) if value.state is not None else value.name
