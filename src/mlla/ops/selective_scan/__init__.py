"""The selective scan of Mamba."""

from mlla.ops.selective_scan.reference import selective_scan_reference

# replaced by the fast form, which has the same signature
selective_scan = selective_scan_reference

__all__ = ["selective_scan", "selective_scan_reference"]
