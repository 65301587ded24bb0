"""Registers our models with timm as soon as both are imported, in either order.

Importing timm takes seconds, so `import mlla` must not do it; yet after `import mlla` and
`import timm`, `timm.create_model("mlla_tiny")` has to work. timm offers no entry point for other
packages' models, so a finder on `sys.meta_path` waits for the import of timm, lets the usual
finders do it, and imports `mlla.models`, which registers, right after. It then removes itself.
docs/decisions/lazy-import.md has the alternatives.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def register_with_timm() -> None:
    """Register now if timm is imported, else when it will be."""
    if sys.modules.get("timm") is not None:
        _import_our_models()
    elif not any(isinstance(finder, _TimmFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TimmFinder())


def _import_our_models() -> None:
    # whoever is importing them already, perhaps in another thread that waits for timm, registers
    if "mlla.models" in sys.modules:
        return
    try:
        importlib.import_module("mlla.models")
    except Exception as error:
        # a fault of ours must not take timm away from a program that may not even use mlla_*
        warnings.warn(
            f"mlla could not register its models with timm: {error!r}; "
            "`import mlla.models` shows where",
            RuntimeWarning,
            stacklevel=2,
        )


class _TimmFinder(MetaPathFinder):
    """Finds timm as the other finders do, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "timm":
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _RegisteringLoader(spec.loader, self)
                return spec
        return None


class _RegisteringLoader(Loader):
    """Loads timm with its own loader, then registers our models.

    Args:
        loader: The loader of timm.
        finder: What to take off `sys.meta_path` when the work is done.
    """

    def __init__(self, loader: Loader, finder: _TimmFinder) -> None:
        self._loader = loader
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        # find_spec("timm") may be asked for sources or resources without importing
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # the module keeps no trace of this loader
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        _import_our_models()
