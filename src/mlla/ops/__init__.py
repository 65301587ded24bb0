"""Pure functions on channels-last grids, each with a plain reference beside its fast form."""

from mlla.ops.fast_paths import fast_paths_enabled, use_fast_paths
from mlla.ops.grid_padding import pad_grid_to_multiple
from mlla.ops.grid_scan import grid_scan, grid_unscan, grid_unscan_sum
from mlla.ops.linear_attention import (
    linear_attention,
    linear_attention_reference,
    projected_linear_attention,
    projected_linear_attention_plain,
)
from mlla.ops.rotary import rotate_by_position
from mlla.ops.selective_scan import selective_scan, selective_scan_reference
from mlla.ops.unified_attention import (
    ForgetGate,
    unified_attention,
    unified_attention_recurrent,
)

__all__ = [
    "ForgetGate",
    "fast_paths_enabled",
    "grid_scan",
    "grid_unscan",
    "grid_unscan_sum",
    "linear_attention",
    "linear_attention_reference",
    "pad_grid_to_multiple",
    "projected_linear_attention",
    "projected_linear_attention_plain",
    "rotate_by_position",
    "selective_scan",
    "selective_scan_reference",
    "unified_attention",
    "unified_attention_recurrent",
    "use_fast_paths",
]
