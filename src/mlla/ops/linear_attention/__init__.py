"""Linear attention on grids: the O(N^2) reference and the forms that are linear in tokens."""

from mlla.ops.linear_attention.parallel import linear_attention
from mlla.ops.linear_attention.projected import (
    active_form,
    projected_linear_attention,
    projected_linear_attention_plain,
)
from mlla.ops.linear_attention.reference import linear_attention_reference

__all__ = [
    "active_form",
    "linear_attention",
    "linear_attention_reference",
    "projected_linear_attention",
    "projected_linear_attention_plain",
]
