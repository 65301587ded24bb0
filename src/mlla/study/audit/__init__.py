"""What run folders that people already have are worth."""

from mlla.study.audit.added import (
    AddedArm,
    differences_from_plan,
    read_existing_runs,
    write_added_run,
)

__all__ = ["AddedArm", "differences_from_plan", "read_existing_runs", "write_added_run"]
