"""How loops are compiled; imports Numba."""

from collections.abc import Callable
from typing import Any

from numba import njit

# more would simplify the rounding of exponents away
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on the first call, and keep the result on disk where there is a place for it."""
    try:
        return njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # neither the folder of this file nor the cache folder of the user can be written to
        return njit(**_OPTIONS)(function)


def compiled_within(function: Callable[..., Any]) -> Any:
    """Compile in the same way, as a part of what calls it."""
    return njit(**_OPTIONS)(function)
