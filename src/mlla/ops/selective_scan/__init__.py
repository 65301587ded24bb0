"""The selective scan of Mamba."""

from mlla.ops.selective_scan.chunked import selective_scan_chunked
from mlla.ops.selective_scan.parallel import active_form, selective_scan
from mlla.ops.selective_scan.reference import selective_scan_reference
from mlla.ops.selective_scan.traceable import selective_scan_traceable

__all__ = [
    "active_form",
    "selective_scan",
    "selective_scan_chunked",
    "selective_scan_reference",
    "selective_scan_traceable",
]
