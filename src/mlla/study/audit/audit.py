"""What run folders that somebody has are worth, from folder to report."""

from __future__ import annotations

from pathlib import Path

from mlla.study.audit.case import make_case
from mlla.study.audit.claims import make_claim
from mlla.study.audit.finding import Finding, Weight
from mlla.study.audit.grouping import choose_baseline, group_runs
from mlla.study.audit.health_findings import health_findings
from mlla.study.audit.next_command import next_command
from mlla.study.audit.read_runs import read_runs
from mlla.study.audit.report import Audit
from mlla.study.audit.rescore import Rescoring, rescore
from mlla.study.audit.seed_findings import seed_findings
from mlla.study.audit.selection_findings import selection_findings
from mlla.study.audit.setting_findings import setting_findings
from mlla.study.audit.start_findings import start_findings
from mlla.study.audit.statement import state

_ORDER = (Weight.FAULT, Weight.NOTE, Weight.NOT_CHECKED)


def audit(
    runs_dir: str | Path,
    *,
    data: str | Path | None = None,
    baseline: str | None = None,
    arms: str | None = None,
    quick: bool = False,
    trust: bool = False,
    quiet: bool = False,
) -> Audit:
    """Say what a claim from existing run folders is worth; nothing is written or changed.

    Args:
        runs_dir: A folder with run folders of Ultralytics, at any depth.
        data: The data.yaml to score on; by default that which the runs name.
        baseline: Name of the arm to compare the others with; by default the unchanged model of
            Ultralytics with the most runs.
        arms: How to group runs, see `group_runs`; by default by what they are.
        quick: Leave out what takes long: predicting with the weights.
        trust: Whether weights may be loaded that name code of others, which runs that code.
        quiet: Show no progress.

    Returns:
        The report.

    Raises:
        FileNotFoundError: If there is no such folder or dataset.
        ValueError: If there is no run in the folder, or `baseline` or `arms` fits none.
    """
    root = Path(runs_dir)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no folder; name the folder of your runs")
    if data is not None and not Path(data).is_file():
        raise FileNotFoundError(f"data={str(data)!r} is no file; name a data.yaml")
    runs = list(read_runs(root))
    if not runs:
        raise ValueError(
            f"{root} holds no training of Ultralytics: no folder below it has results.csv, or an "
            "args.yaml with epochs"
        )
    groups = group_runs(runs, arms)
    named = None if data is None else str(data)
    case = make_case(root, groups, choose_baseline(groups, baseline), named)
    findings = [
        *seed_findings(case),
        *start_findings(case),
        *setting_findings(case),
        *selection_findings(case),
        *health_findings(case),
    ]
    rescoring = Rescoring()
    if quick and case.pairs:
        rescoring.findings.append(_left_out())
    elif case.pairs:
        rescoring = rescore(case, trust=trust, quiet=quiet)
    findings = sorted([*findings, *rescoring.findings], key=lambda f: _ORDER.index(f.weight))
    claims = [make_claim(arm, against) for arm, against in case.pairs]
    statements = [
        state(claim, rescoring.of.get((claim.arm, claim.against)), findings) for claim in claims
    ]
    command = next_command(case, named, list(rescoring.of.values()))
    return Audit(case, claims, rescoring.of, statements, findings, command)


def _left_out() -> Finding:
    return Finding(
        Weight.NOT_CHECKED,
        "interval of the differences",
        "The weights were not run (quick), so the differences have no interval.",
        remedy="Leave out --quick.",
    )
