"""What a check found: one finding per thing that was tried, in words and numbers."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

_WIDTH = 96


class Verdict(str, Enum):
    """How one check ended; the value is what a reader of the report sees."""

    OK = "ok"
    FAULT = "FAULT"
    NOTE = "note"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        check: What was looked at, in a few words.
        verdict: How it ended.
        seen: What was seen, in one sentence with numbers.
        done: What was done to see it.
        why: Why it matters; empty where nothing is wrong.
        remedy: What to do about it; empty where nothing is wrong.
    """

    check: str
    verdict: Verdict
    seen: str
    done: str = ""
    why: str = ""
    remedy: str = ""

    def to_line(self) -> str:
        """Return the finding as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Finding:
        """Read back what `to_line` wrote."""
        return cls(**{**fields, "verdict": Verdict(fields["verdict"])})


@dataclass(frozen=True)
class Report:
    """Everything one class was found to do.

    Attributes:
        target: File and class, as given.
        built_as: The call that built the module.
        called_with: What the module takes, such as "a map (B, C, H, W)".
        findings: One per check, in the order they were made.
        is_complete: Whether every check was made; if not, the last finding says why.
    """

    target: str
    built_as: str
    called_with: str
    findings: tuple[Finding, ...]
    is_complete: bool = True

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that are wrong whatever the class is used for."""
        return tuple(f for f in self.findings if f.verdict is Verdict.FAULT)

    def to_json(self) -> str:
        """Return the report for programs; `ok` is false after a fault or an early end."""
        content = {"ok": self.is_complete and not self.faults, **asdict(self)}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def text(self) -> str:
        """Return the report for a terminal: verdict, table, then details of all but the good."""
        blocks = [self._headline(), self._table()]
        blocks += [_details(f) for f in self.findings if f.verdict in (Verdict.FAULT, Verdict.NOTE)]
        return "\n\n".join(blocks)

    def _headline(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        names = {
            Verdict.FAULT: "fault",
            Verdict.NOTE: "note",
            Verdict.OK: "check ok",
            Verdict.NOT_CHECKED: "not checked",
        }
        parts = [
            f"{counts[v]} {_plural(name, counts[v])}" for v, name in names.items() if counts[v]
        ]
        verdict = "FAULTS FOUND" if self.faults else "no fault found"
        if not self.is_complete:
            verdict += ", NOT ALL CHECKED"
        return "\n".join(
            [
                f"{self.target}: {verdict} ({', '.join(parts)})",
                f"built as {self.built_as}, called with {self.called_with}",
            ]
        )

    def _table(self) -> str:
        check = max(len("check"), *(len(finding.check) for finding in self.findings))
        result = max(len(verdict.value) for verdict in Verdict)
        lines = [f"{'check':<{check}}  {'result':<{result}}  what was seen"]
        lines.append("-" * _WIDTH)
        indent = " " * (check + result + 4)
        for finding in self.findings:
            start = f"{finding.check:<{check}}  {finding.verdict.value:<{result}}  "
            lines.append(_wrap(start, indent, finding.seen))
        return "\n".join(lines)


def _plural(name: str, count: int) -> str:
    if count == 1 or name == "not checked":
        return name
    return "checks ok" if name == "check ok" else f"{name}s"


def _details(finding: Finding) -> str:
    lines = [f"{finding.verdict.value}: {finding.check}"]
    parts = (
        ("done", finding.done),
        ("seen", finding.seen),
        ("why", finding.why),
        ("remedy", finding.remedy),
    )
    lines += [_wrap(f"  {name:<8}", " " * 10, text) for name, text in parts if text]
    return "\n".join(lines)


def _wrap(start: str, indent: str, text: str) -> str:
    # narrow enough to read, wide enough for the longest table
    width = max(_WIDTH, len(indent) + 40)
    return textwrap.fill(
        text, width, initial_indent=start, subsequent_indent=indent, break_long_words=False
    )
