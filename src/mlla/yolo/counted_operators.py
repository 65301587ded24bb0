# SPDX-License-Identifier: AGPL-3.0-only
"""Our operators in the GFLOPs that Ultralytics prints.

Ultralytics counts with thop, by kinds of modules and, since its version 2.1, by functions. Our
operators are neither; this adds them to its functions, with the formulas that torch's counter has.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from torch.utils import flop_counter

# two operations each, as everybody counts who prints GFLOPs
_OPERATIONS_PER_MULTIPLY_ADD = 2


def count_our_operators() -> list[str]:
    """Let thop count every operator of this package that torch counts.

    Returns:
        The names of the operators; none where thop is missing or counts modules only.
    """
    try:
        # thop has a function of that name, too
        profile = importlib.import_module("thop.profile")
    except ImportError:
        return []
    functions = getattr(profile, "functional_hooks", None)
    if functions is None:
        return []
    ours = [op for op in flop_counter.flop_registry if str(op).startswith("mlla.")]
    for operator in ours:
        for overload in operator.overloads():
            functions[getattr(operator, overload)] = _rule(flop_counter.flop_registry[operator])
    return [str(operator) for operator in ours]


def _rule(formula: Callable[..., int]) -> Callable[[Any, Any, Any], float]:
    def count(arguments: Any, options: Any, output: Any) -> float:
        operations = formula(*arguments, **options, out_val=output)
        return operations / _OPERATIONS_PER_MULTIPLY_ADD

    return count
