"""The report of a study: one page to read, and tables for other programs."""

from mlla.study.report.write import write_report

__all__ = ["write_report"]
