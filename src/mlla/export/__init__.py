"""Other formats for models, checked against PyTorch before they get their names."""

from mlla.export.difference import TOLERANCE
from mlla.export.exporting import check_export, export
from mlla.export.report import Report, WrongExportError

__all__ = ["TOLERANCE", "Report", "WrongExportError", "check_export", "export"]
