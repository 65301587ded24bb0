"""Modules of loops, imported when they are needed: with them comes Numba, which takes a second."""

import importlib
from functools import cache
from typing import Any

# imported once, and what is remembered is cheaper to ask than the import system
load_loops: Any = cache(importlib.import_module)


@cache
def import_failure(module: str) -> str:
    """Tell why a module of loops cannot be imported; empty if it can.

    Args:
        module: Its full name.
    """
    try:
        load_loops(module)
    except ImportError as error:
        return str(error)
    return ""
