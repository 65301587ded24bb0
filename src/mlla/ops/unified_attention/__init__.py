"""Linear attention and the selective scan as one operator with switches."""

from mlla.ops.unified_attention.arguments import ForgetGate
from mlla.ops.unified_attention.operator import unified_attention
from mlla.ops.unified_attention.recurrent import unified_attention_recurrent

__all__ = ["ForgetGate", "unified_attention", "unified_attention_recurrent"]
