"""What run folders that people already have are worth."""

from mlla.study.audit.added import (
    AddedArm,
    differences_from_plan,
    read_existing_runs,
    write_added_run,
)
from mlla.study.audit.audit import audit
from mlla.study.audit.finding import Finding, Weight
from mlla.study.audit.report import Audit

__all__ = [
    "AddedArm",
    "Audit",
    "Finding",
    "Weight",
    "audit",
    "differences_from_plan",
    "read_existing_runs",
    "write_added_run",
]
