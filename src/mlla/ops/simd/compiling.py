"""How loops are compiled; imports Numba."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on the first call, and keep the result on disk where there is a place for it."""
    # more would simplify the rounding of exponents away
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:
        # neither the folder of this file nor the cache folder of the user can be written to
        return njit(**options)(function)
