"""Pure functions on channels-last grids, each with a plain reference beside its fast form."""

from mlla.ops.grid_padding import pad_grid_to_multiple
from mlla.ops.linear_attention import linear_attention, linear_attention_reference
from mlla.ops.rotary import rotate_by_position

__all__ = [
    "linear_attention",
    "linear_attention_reference",
    "pad_grid_to_multiple",
    "rotate_by_position",
]
