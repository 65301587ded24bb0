"""Does a change help? Comparisons of detectors with honest statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlla.study.compare_models import compare

__all__ = ["compare"]


def __getattr__(name: str) -> Any:
    # torch, scipy and matplotlib take seconds to import
    if name == "compare":
        from mlla.study.compare_models import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
