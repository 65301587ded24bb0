"""Which designs of Mamba help linear attention? Tables 1 and 2 of the paper, trained anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlla.study.six_designs.study import compare_six_designs

__all__ = ["compare_six_designs"]


def __getattr__(name: str) -> Any:
    # torch, scipy and matplotlib take seconds to import
    if name == "compare_six_designs":
        from mlla.study.six_designs.study import compare_six_designs

        return compare_six_designs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
