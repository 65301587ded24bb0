# SPDX-License-Identifier: AGPL-3.0-only
"""A block of the user's own: a class in a file or a module, called with the width alone.

Checkpoints name the class by its module, so a file is imported under its own name and its folder
is put on the search path; whoever opens the checkpoint needs the file there, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType

import torch
from torch import nn
from ultralytics.utils import LOGGER

# height and width of the maps a block is tried on: square, and not
_SQUARE, _OBLONG = (16, 16), (8, 12)


@dataclass(frozen=True)
class UserBlock:
    """A class of the user.

    Attributes:
        name: "package.module:Class", as configurations and arms name it.
        folder: What has to be on the search path for the module to be found.
        target: The class.
    """

    name: str
    folder: str
    target: type[nn.Module]

    def build(self, width: int) -> nn.Module:
        """Call the class with the width.

        Raises:
            ValueError: If it raises.
        """
        try:
            return self.target(width)
        except Exception as error:
            raise ValueError(
                f"block={self.name!r} cannot be built: {self.target.__name__}({width}) raises "
                f"{type(error).__name__}: {error}; it must take the width as its only argument"
            ) from error


def is_user_block(block: str) -> bool:
    """Return whether `block` has the form "FILE.py:Class" or "package.module:Class"."""
    source, colon, name = block.rpartition(":")
    return bool(source and colon) and name.isidentifier()


def user_block(block: str, folders: Sequence[str] = ()) -> UserBlock:
    """Import the class that `block` names.

    Args:
        block: "FILE.py:Class" or "package.module:Class".
        folders: What to put at the end of the search path first.

    Returns:
        The class, under a name that is the same for files and modules.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the import fails, another module has the name of the file, or the class is
            missing, no module of torch, or not to be found again by a checkpoint.
    """
    source, _, name = block.rpartition(":")
    for folder in folders:
        make_importable(folder)
    module = _import_file(Path(source)) if source.endswith(".py") else _import(source)
    classes = _module_classes(module)
    if name not in classes:
        own = [key for key, value in classes.items() if value.__module__ == module.__name__]
        near = get_close_matches(name, own, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"block={block!r}: {source} has no class {name} derived from torch.nn.Module; "
            f"it has {', '.join(own) or 'none'}{hint}"
        )
    target = classes[name]
    # where the class was written, which is what a checkpoint will say
    home = sys.modules[target.__module__]
    if home.__name__ == "__main__" or vars(home).get(target.__qualname__) is not target:
        raise ValueError(
            f"block={block!r}: a checkpoint would not find {home.__name__}.{target.__qualname__} "
            "again; put the class at the top level of a file of its own"
        )
    folder = _folder_of(home)
    if folders and folder not in folders:
        raise ValueError(
            f"block={block!r} was found in {folder} and not in {', '.join(folders)}; rename one of "
            "the files"
        )
    return UserBlock(f"{home.__name__}:{target.__name__}", folder, target)


def check_user_block(block: UserBlock, widths: Sequence[int]) -> None:
    """Raise unless the block turns maps into maps of the same shape; warn if only square ones.

    Args:
        block: The class.
        widths: Channels of the maps.

    Raises:
        ValueError: If the class cannot be built or called, or changes channels or size.
    """
    oblong = ""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for width in widths:
            module = block.build(width).eval()
            if problem := _problem_on(module, width, _SQUARE):
                raise ValueError(
                    f"block={block.name!r} does not fit: {problem}; a block takes a map "
                    "(B, C, H, W) and returns one of the same shape"
                )
            oblong = oblong or _problem_on(module, width, _OBLONG)
    if oblong:
        _warn_once(
            f"block={block.name!r}: {oblong}. Validation has such maps unless all images are "
            "square; `mlla check FILE.py:Class` says what is wrong"
        )


@cache
def _warn_once(text: str) -> None:
    # a study builds the same network several times
    LOGGER.warning(text)


def _module_classes(module: ModuleType) -> dict[str, type[nn.Module]]:
    found = {key: value for key, value in vars(module).items() if isinstance(value, type)}
    return {key: value for key, value in found.items() if issubclass(value, nn.Module)}


def _problem_on(module: nn.Module, width: int, size: tuple[int, int]) -> str:
    shape = (2, width, *size)
    try:
        answer = module(torch.rand(shape))
    except Exception as error:
        return f"on a map {shape} it raises {type(error).__name__}: {error}"
    if not isinstance(answer, torch.Tensor):
        return f"for a map {shape} it returns a {type(answer).__name__}"
    return "" if answer.shape == shape else f"for a map {shape} it returns {tuple(answer.shape)}"


def _import_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"block: there is no file {str(file)!r}")
    file = file.resolve()
    root = file.parent
    while (root / "__init__.py").exists():
        root = root.parent
    parts = file.relative_to(root).with_suffix("").parts
    name = ".".join(parts)
    if not all(part.isidentifier() for part in parts):
        raise ValueError(f"block: {file} cannot be imported as {name!r}; rename it to a plain name")
    make_importable(str(root))
    taken = getattr(sys.modules.get(name), "__spec__", None)
    if name not in sys.modules:
        try:
            taken = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            taken = None
    if taken is None or taken.origin is None or Path(taken.origin).resolve() != file:
        where = f" ({taken.origin})" if taken is not None and taken.origin else ""
        raise ValueError(
            f"block: {file} cannot be imported as {name!r}, since another module has this "
            f"name{where}; rename the file, since a checkpoint would not find it again"
        )
    return _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]
        remedy = (
            "name its file instead (FILE.py:Class), or put its folder on PYTHONPATH"
            if missing
            else f"make `python -c 'import {name}'` run first"
        )
        raise ValueError(
            f"block: the module {name!r} cannot be imported: "
            f"{type(error).__name__}: {error}; {remedy}"
        ) from error


def _folder_of(module: ModuleType) -> str:
    file = Path(str(module.__file__)).resolve()
    depth = module.__name__.count(".") + (file.name == "__init__.py")
    return str(file.parents[depth])


def make_importable(folder: str) -> None:
    """Put a folder on the search path of imports."""
    # at the end: a neighbour of the file named random.py must shadow nothing
    if folder not in sys.path:
        sys.path.append(folder)
