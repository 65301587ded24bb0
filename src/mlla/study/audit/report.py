"""What an audit found, as text for a reader and as JSON for programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from mlla.study.audit.case import Case
from mlla.study.audit.claims import Claim, Figures, figures_of
from mlla.study.audit.finding import Finding, Weight, counted, listed
from mlla.study.audit.grouping import RunGroup
from mlla.study.audit.json_report import arm_content, claim_content, json_text
from mlla.study.audit.optimizer import chosen_optimizer
from mlla.study.audit.rescored import Rescored
from mlla.study.audit.start_findings import start_text
from mlla.study.audit.statement import SETTLED, Statement

_WIDTH = 96


@dataclass(frozen=True)
class Audit:
    """What run folders are worth.

    Attributes:
        case: The runs.
        claims: Every arm beside the one it is compared with.
        rescored: The same from predictions, by the names of the two arms.
        statements: The answer to each claim.
        findings: Faults, then notes, then what was not checked.
        next: The command that would answer what is open, or None.
    """

    case: Case
    claims: list[Claim]
    rescored: dict[tuple[str, str], Rescored]
    statements: list[Statement]
    findings: list[Finding]
    next: str | None

    @property
    def faults(self) -> list[Finding]:
        """The findings that are wrong."""
        return [finding for finding in self.findings if finding.weight is Weight.FAULT]

    @property
    def is_settled(self) -> bool:
        """Whether there is no fault, and an answer to every claim."""
        answers = [statement.headline in SETTLED for statement in self.statements]
        return bool(answers) and all(answers) and not self.faults

    def text(self) -> str:
        """Return the report for a terminal: claims, arms, faults, and what to do."""
        parts = [self._headline(), *self._claims(), _arms(self.case)]
        for weight, title in (
            (Weight.FAULT, "Faults, the most important first"),
            (Weight.NOTE, "Notes"),
            (Weight.NOT_CHECKED, "Not checked"),
        ):
            chosen = [finding for finding in self.findings if finding.weight is weight]
            if chosen:
                blocks = [_finding(number, found) for number, found in enumerate(chosen, 1)]
                parts.append("\n\n".join([_title(title), *blocks]))
        parts.append(self._next())
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """Return the report for programs; `ok` is false where there are faults."""
        claims = [
            claim_content(claim, statement, self.rescored.get((claim.arm, claim.against)))
            for claim, statement in zip(self.claims, self.statements, strict=True)
        ]
        return json_text(
            {
                "format": 1,
                "ok": not self.faults,
                "runs_dir": str(self.case.root),
                "claims": claims,
                "arms": [arm_content(self.case, group) for group in self.case.groups],
                "findings": [asdict(finding) for finding in self.findings],
                "next": self.next,
            }
        )

    def _headline(self) -> str:
        runs, arms = len(self.case.runs), len(self.case.groups)
        faults = counted(len(self.faults), "fault") if self.faults else "no fault found"
        summary = f"{counted(runs, 'run')} in {counted(arms, 'arm')}, {faults}"
        return f"{self.case.root}: {summary}.\nNothing was changed there."

    def _claims(self) -> Iterator[str]:
        if not self.claims:
            yield _wrap(
                "",
                "",
                "There is one arm only, so nothing is compared. Two runs are of different arms "
                "where the model, an argument or the network differs in more than the seed.",
            )
            return
        yield _title("What the comparisons are worth")
        for claim, statement in zip(self.claims, self.statements, strict=True):
            start = f"{statement.headline}: {claim.arm} against {claim.against}"
            lines = [_wrap("", "  ", start), _wrap("  ", "  ", statement.reason)]
            lines += [_wrap("  - ", "    ", text) for text in statement.sentences]
            yield "\n".join(lines)

    def _next(self) -> str:
        lines = [_title("What to do next")]
        if self.is_settled:
            text = "Nothing: as far as these files tell, the answers can be reported as they stand."
            return "\n\n".join([lines[0], text])
        if self.next is not None:
            lines.append(
                "This trains the same models again under equal conditions, and says what the "
                "difference is worth:"
            )
            return "\n\n".join([lines[0], _wrap("", "", lines[1]), f"  {self.next}"])
        if self.claims:
            lines.append(
                "Train every setting with at least 4 seeds, all else equal, and audit again."
            )
        else:
            lines.append("Train what you want to compare it with, each with at least 4 seeds.")
        return "\n\n".join(lines)


def _arms(case: Case) -> str:
    lines = [_title("The arms, and how runs were put together"), ""]
    width = max(len("arm"), *(len(group.name) for group in case.groups))
    lines.append(f"{'arm':<{width}}  runs  {'last epoch (val)':<18}  best epoch (val)")
    groups = [case.baseline, *(group for group in case.groups if group is not case.baseline)]
    for group in groups:
        figures = figures_of(group.distinct)
        usable = f"{len(group.distinct)}/{len(group.runs)}"
        lines.append(
            f"{group.name:<{width}}  {usable:<4}  {_mean(figures, 'last'):<18}  "
            f"{_mean(figures, 'best')}"
        )
    for group in groups:
        lines += ["", _wrap("", "  ", f"{group.name}: {_about(case, group)}")]
    return "\n".join(lines)


def _mean(figures: Figures, which: str) -> str:
    spread = getattr(figures, which)
    if math.isnan(spread.mean):
        return "-"
    deviation = "" if math.isnan(spread.deviation) else f" +- {spread.deviation:.4f}"
    return f"{spread.mean:.4f}{deviation}"


def _about(case: Case, group: RunGroup) -> str:
    first = group.runs[0]
    optimizer = chosen_optimizer(first)
    parameters = first.checkpoint.num_parameters if first.checkpoint is not None else 0
    facts = [
        *([group.special] if group.special else []),
        f"seeds {listed((run.seed for run in group.runs), 8)}",
        f"{first.planned_epochs} epochs at {first.arguments.get('imgsz')} px",
        f"{optimizer.name}{'' if optimizer.lr0 is None else f' lr0 {optimizer.lr0:g}'}",
        f"from {start_text(case.transfers[first.name])}",
        f"{parameters:,} parameters" if parameters else "no weights",
        f"ultralytics {first.version or 'unknown'}",
    ]
    return f"{', '.join(facts)}. Runs: {listed((run.name for run in group.runs), 8)}."


def _finding(number: int, finding: Finding) -> str:
    lines = [_wrap(f"{number}. ", "   ", f"{finding.title}: {finding.seen}")]
    if finding.why:
        lines.append(_wrap("   why: ", "        ", finding.why))
    if finding.remedy:
        lines.append(_wrap("   do:  ", "        ", finding.remedy))
    return "\n".join(lines)


def _title(text: str) -> str:
    return f"{text}\n{'-' * len(text)}"


def _wrap(start: str, indent: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
