"""Specimens, and the probes run on them without a process of their own."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

from mlla.check import Finding
from mlla.check.subject import Subject, find_subject

SPECIMENS = Path(__file__).parent / "specimens"


@cache
def specimen_module(file: str):
    spec = importlib.util.spec_from_file_location(f"specimens_{file}", SPECIMENS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    # pickling needs to find it
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def specimen(file: str, name: str, *, width: int = 32, seed: int = 0, **given) -> Subject:
    target = getattr(specimen_module(file), name)
    return find_subject(target, width=width, given=given, seed=seed)


def by_check(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in findings}
