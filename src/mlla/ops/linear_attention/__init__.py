"""Linear attention on grids: the O(N^2) reference and the form that is linear in tokens."""

from mlla.ops.linear_attention.parallel import linear_attention
from mlla.ops.linear_attention.reference import linear_attention_reference

__all__ = ["linear_attention", "linear_attention_reference"]
