"""Importing a class from a file without running the file's main part."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from difflib import get_close_matches
from pathlib import Path

from torch import nn

from mlla.check.attempt import sentence

#: what a module is called where it is not what it is installed by
_INSTALLED_BY = {
    "cv2": "opencv-python",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
}
_FILE_AS_MODULE = "checked_file"


class LoadError(ValueError):
    """The class cannot be had from the file, or not be built; the message says what to do."""


def load_class(file: Path, name: str) -> type[nn.Module]:
    """Import a file and return one of its classes.

    A file inside a package, such as one of an edited Ultralytics, is imported as part of it, so
    that its relative imports work.

    Args:
        file: A Python file.
        name: The class.

    Returns:
        The class.

    Raises:
        LoadError: If the import fails, or the name is no class of modules.
    """
    try:
        module = _import_file(file.resolve())
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        raise LoadError(_missing_module(file, error)) from error
    except BaseException as error:
        raise LoadError(
            f"{file} cannot be imported: {sentence(error)}; make `python {file}` run first"
        ) from error
    target = getattr(module, name, None)
    if not (inspect.isclass(target) and issubclass(target, nn.Module)):
        raise LoadError(_no_such_class(file, module, name, target))
    return target


def _import_file(file: Path) -> object:
    root = file.parent
    while (root / "__init__.py").exists():
        root = root.parent
    if root != file.parent:
        # before what is installed: an edited copy of a package is what was meant
        sys.path.insert(0, str(root))
        parts = file.relative_to(root).with_suffix("").parts
        module = importlib.import_module(".".join(p for p in parts if p != "__init__"))
        if Path(str(module.__file__)).resolve() != file:
            raise ImportError(f"{module.__file__} was imported already and is found instead")
        return module
    # after what is installed: a neighbour named random.py must shadow nothing
    sys.path.append(str(root))
    spec = importlib.util.spec_from_file_location(_FILE_AS_MODULE, file)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_FILE_AS_MODULE] = module
    spec.loader.exec_module(module)
    return module


def _missing_module(file: Path, error: ModuleNotFoundError) -> str:
    missing = str(error.name).partition(".")[0]
    return (
        f"{file} cannot be imported: it needs {error.name}, which is not installed here; "
        f"pip install {_INSTALLED_BY.get(missing, missing)}, or remove the import if the class "
        "does not use it"
    )


def _no_such_class(file: Path, module: object, name: str, target: object) -> str:
    own = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, nn.Module)
        and value.__module__ == getattr(module, "__name__", "")
    ]
    if target is not None:
        return f"{name} in {file} is not a class derived from torch.nn.Module; it has {own}"
    near = get_close_matches(name, own, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{file} has no class {name}; its modules are {', '.join(own) or 'none'}{hint}"
