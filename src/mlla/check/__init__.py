"""What is wrong with a pasted attention class: probes, and a report in words and numbers.

Importing this package is light; torch is loaded by the process in which the class runs.
"""

from mlla.check.launch import CheckError, check_class
from mlla.check.report import Finding, Report, Verdict

__all__ = ["CheckError", "Finding", "Report", "Verdict", "check_class"]
